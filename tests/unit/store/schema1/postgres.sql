CREATE TABLE arms (
    job_id text NOT NULL,
    wake_at bigint,
    armed_at bigint,
    armed_for bigint,
    known smallint DEFAULT '0'::smallint NOT NULL,
    owner text,
    owned_until bigint,
    void smallint DEFAULT '0'::smallint NOT NULL,
    named text DEFAULT ''::text NOT NULL,
    refused text,
    wanted smallint DEFAULT '0'::smallint NOT NULL
);
CREATE TABLE chapters (
    id bigint NOT NULL,
    job_id text DEFAULT ''::text NOT NULL,
    at bigint DEFAULT '0'::bigint NOT NULL,
    state text DEFAULT ''::text NOT NULL,
    next_fire_at bigint,
    definition text DEFAULT ''::text NOT NULL
);
CREATE SEQUENCE chapters_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE chapters_id_seq OWNED BY chapters.id;
CREATE TABLE fires (
    job_id text NOT NULL,
    key text NOT NULL,
    fire_at bigint DEFAULT '0'::bigint NOT NULL,
    state text DEFAULT ''::text NOT NULL,
    manual smallint DEFAULT '0'::smallint NOT NULL,
    last_at bigint,
    count bigint,
    not_before bigint,
    since bigint,
    attempts bigint DEFAULT '0'::bigint NOT NULL,
    failures bigint DEFAULT '0'::bigint NOT NULL,
    deaths bigint DEFAULT '0'::bigint NOT NULL,
    counted smallint DEFAULT '0'::smallint NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    settled_at bigint,
    open smallint DEFAULT '0'::smallint NOT NULL
);
CREATE TABLE jobs (
    id text NOT NULL,
    state text DEFAULT ''::text NOT NULL,
    next_fire_at bigint,
    last_fire_at bigint,
    created_at bigint,
    counted bigint DEFAULT '0'::bigint NOT NULL,
    failures_in_row bigint DEFAULT '0'::bigint NOT NULL,
    fence bigint DEFAULT '0'::bigint NOT NULL,
    revision bigint DEFAULT '0'::bigint NOT NULL,
    scheduled_in bigint DEFAULT '0'::bigint NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    origin text DEFAULT ''::text NOT NULL,
    definition text DEFAULT ''::text NOT NULL
);
CREATE TABLE meta (
    name text NOT NULL,
    value bigint DEFAULT '0'::bigint NOT NULL
);
CREATE TABLE runs (
    id text NOT NULL,
    job_id text DEFAULT ''::text NOT NULL,
    key text DEFAULT ''::text NOT NULL,
    fire_at bigint DEFAULT '0'::bigint NOT NULL,
    attempt bigint DEFAULT '0'::bigint NOT NULL,
    fence bigint DEFAULT '0'::bigint NOT NULL,
    task text DEFAULT ''::text NOT NULL,
    args text DEFAULT ''::text NOT NULL,
    state text DEFAULT ''::text NOT NULL,
    timeout double precision,
    worker text DEFAULT ''::text NOT NULL,
    claimed_at bigint,
    started_at bigint,
    ended_at bigint,
    lease_until bigint,
    guard_at bigint,
    cancel text DEFAULT ''::text NOT NULL,
    error text DEFAULT ''::text NOT NULL,
    result text DEFAULT ''::text NOT NULL,
    manual smallint DEFAULT '0'::smallint NOT NULL,
    deadline bigint,
    open smallint DEFAULT '0'::smallint NOT NULL
);
CREATE TABLE schema_version (
    version bigint NOT NULL
);
CREATE SEQUENCE schema_version_version_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE schema_version_version_seq OWNED BY schema_version.version;
ALTER TABLE ONLY chapters ALTER COLUMN id SET DEFAULT nextval('chapters_id_seq'::regclass);
ALTER TABLE ONLY schema_version ALTER COLUMN version SET DEFAULT nextval('schema_version_version_seq'::regclass);
INSERT INTO arms VALUES ('a', 1795644000000000, NULL, NULL, 1, NULL, NULL, 0, '[]', NULL, 1);
INSERT INTO arms VALUES ('b', 1795644000000000, NULL, NULL, 1, NULL, NULL, 0, '[]', NULL, 1);
INSERT INTO chapters VALUES (1, 'a', 1795640953954342, 'scheduled', 1795644000000000, '{"schedule": {"kind": "cron", "text": "0 * * * *", "timezone": "UTC", "anchor": "fire", "source": ""}, "policy": {}}');
INSERT INTO chapters VALUES (2, 'b', 1795640953998750, 'scheduled', 1795644000000000, '{"schedule": {"kind": "cron", "text": "0 * * * *", "timezone": "UTC", "anchor": "fire", "source": ""}, "policy": {}}');
INSERT INTO fires VALUES ('a', '2026-07-01T12:00:00+00:00', 1782907200000000, 'succeeded', 0, NULL, 1, NULL, NULL, 1, 0, 0, 0, '', 1782907200000000, 0);
INSERT INTO fires VALUES ('a', '2026-07-01T13:00:00+00:00', 1782910800000000, 'failed', 0, NULL, 1, NULL, NULL, 1, 0, 0, 0, '', 1782910800000000, 0);
INSERT INTO fires VALUES ('a', '2026-07-01T14:00:00+00:00', 1782914400000000, 'missed', 0, NULL, 1, NULL, NULL, 0, 0, 0, 0, '', 1782914400000000, 0);
INSERT INTO fires VALUES ('a', '2026-07-01T15:00:00+00:00', 1782918000000000, 'running', 0, NULL, 1, NULL, NULL, 1, 0, 0, 0, '', NULL, 1);
INSERT INTO fires VALUES ('b', '2026-07-01T12:00:00+00:00', 1782907200000000, 'succeeded', 0, NULL, 1, NULL, NULL, 1, 0, 0, 0, '', 1782907200000000, 0);
INSERT INTO fires VALUES ('b', '2026-07-01T13:00:00+00:00', 1782910800000000, 'failed', 0, NULL, 1, NULL, NULL, 1, 0, 0, 0, '', 1782910800000000, 0);
INSERT INTO fires VALUES ('b', '2026-07-01T14:00:00+00:00', 1782914400000000, 'missed', 0, NULL, 1, NULL, NULL, 0, 0, 0, 0, '', 1782914400000000, 0);
INSERT INTO fires VALUES ('b', '2026-07-01T15:00:00+00:00', 1782918000000000, 'running', 0, NULL, 1, NULL, NULL, 1, 0, 0, 0, '', NULL, 1);
INSERT INTO jobs VALUES ('a', 'scheduled', 1795644000000000, NULL, 1795640953954342, 0, 0, 1795640953954, 1, 1, '', '', '{"task": "app.task", "args": {}, "schedule": {"kind": "cron", "text": "0 * * * *", "timezone": "UTC", "anchor": "fire", "source": ""}, "policy": {}}');
INSERT INTO jobs VALUES ('b', 'scheduled', 1795644000000000, NULL, 1795640953998750, 0, 0, 1795640953998, 1, 1, '', '', '{"task": "app.task", "args": {}, "schedule": {"kind": "cron", "text": "0 * * * *", "timezone": "UTC", "anchor": "fire", "source": ""}, "policy": {}}');
INSERT INTO meta VALUES ('stopped', 0);
INSERT INTO runs VALUES ('a:0', 'a', '2026-07-01T12:00:00+00:00', 1782907200000000, 1, 0, 'app.task', '{}', 'succeeded', NULL, '', 1782907200000000, NULL, 1782907200000000, 1782907200000000, NULL, '', '', '', 0, NULL, 0);
INSERT INTO runs VALUES ('a:1', 'a', '2026-07-01T13:00:00+00:00', 1782910800000000, 1, 1, 'app.task', '{}', 'failed', NULL, '', 1782910800000000, NULL, 1782910800000000, 1782910800000000, NULL, '', '', '', 0, NULL, 0);
INSERT INTO runs VALUES ('a:3', 'a', '2026-07-01T15:00:00+00:00', 1782918000000000, 1, 3, 'app.task', '{}', 'started', NULL, '', 1782918000000000, NULL, NULL, 1782918000000000, NULL, '', '', '', 0, NULL, 1);
INSERT INTO runs VALUES ('b:0', 'b', '2026-07-01T12:00:00+00:00', 1782907200000000, 1, 0, 'app.task', '{}', 'succeeded', NULL, '', 1782907200000000, NULL, 1782907200000000, 1782907200000000, NULL, '', '', '', 0, NULL, 0);
INSERT INTO runs VALUES ('b:1', 'b', '2026-07-01T13:00:00+00:00', 1782910800000000, 1, 1, 'app.task', '{}', 'failed', NULL, '', 1782910800000000, NULL, 1782910800000000, 1782910800000000, NULL, '', '', '', 0, NULL, 0);
INSERT INTO runs VALUES ('b:3', 'b', '2026-07-01T15:00:00+00:00', 1782918000000000, 1, 3, 'app.task', '{}', 'started', NULL, '', 1782918000000000, NULL, NULL, 1782918000000000, NULL, '', '', '', 0, NULL, 1);
INSERT INTO schema_version VALUES (1);
SELECT pg_catalog.setval('chapters_id_seq', 2, true);
SELECT pg_catalog.setval('schema_version_version_seq', 1, false);
ALTER TABLE ONLY arms
    ADD CONSTRAINT arms_pkey PRIMARY KEY (job_id);
ALTER TABLE ONLY chapters
    ADD CONSTRAINT chapters_pkey PRIMARY KEY (id);
ALTER TABLE ONLY fires
    ADD CONSTRAINT fires_pkey PRIMARY KEY (job_id, key);
ALTER TABLE ONLY jobs
    ADD CONSTRAINT jobs_pkey PRIMARY KEY (id);
ALTER TABLE ONLY meta
    ADD CONSTRAINT meta_pkey PRIMARY KEY (name);
ALTER TABLE ONLY runs
    ADD CONSTRAINT runs_pkey PRIMARY KEY (id);
ALTER TABLE ONLY schema_version
    ADD CONSTRAINT schema_version_pkey PRIMARY KEY (version);
CREATE INDEX arms_by_wake ON arms USING btree (wake_at);
CREATE INDEX arms_wanted ON arms USING btree (wake_at) WHERE (wanted = 1);
CREATE INDEX chapters_by_job ON chapters USING btree (job_id, id);
CREATE INDEX fires_by_instant ON fires USING btree (fire_at);
CREATE INDEX fires_by_job ON fires USING btree (job_id, fire_at);
CREATE INDEX fires_by_outcome ON fires USING btree (settled_at);
CREATE INDEX fires_open_by_job ON fires USING btree (job_id) WHERE (open = 1);
CREATE INDEX fires_open_by_retry ON fires USING btree (not_before) WHERE (open = 1);
CREATE INDEX jobs_by_next_fire ON jobs USING btree (next_fire_at);
CREATE INDEX runs_by_claim ON runs USING btree (claimed_at);
CREATE INDEX runs_by_job ON runs USING btree (job_id, claimed_at);
CREATE INDEX runs_open_by_job ON runs USING btree (job_id) WHERE (open = 1);
CREATE INDEX runs_open_by_lease ON runs USING btree (lease_until) WHERE (open = 1);
