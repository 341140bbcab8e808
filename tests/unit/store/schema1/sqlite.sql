BEGIN TRANSACTION;
CREATE TABLE arms (
	job_id TEXT NOT NULL, 
	wake_at BIGINT, 
	armed_at BIGINT, 
	armed_for BIGINT, 
	known SMALLINT DEFAULT '0' NOT NULL, 
	owner TEXT, 
	owned_until BIGINT, 
	void SMALLINT DEFAULT '0' NOT NULL, 
	named TEXT DEFAULT '' NOT NULL, 
	refused TEXT, 
	wanted SMALLINT DEFAULT '0' NOT NULL, 
	PRIMARY KEY (job_id)
);
INSERT INTO "arms" VALUES('a',1795644000000000,NULL,NULL,1,NULL,NULL,0,'[]',NULL,1);
INSERT INTO "arms" VALUES('b',1795644000000000,NULL,NULL,1,NULL,NULL,0,'[]',NULL,1);
CREATE TABLE chapters (
	id INTEGER NOT NULL, 
	job_id TEXT DEFAULT '' NOT NULL, 
	at BIGINT DEFAULT '0' NOT NULL, 
	state TEXT DEFAULT '' NOT NULL, 
	next_fire_at BIGINT, 
	definition TEXT DEFAULT '' NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "chapters" VALUES(1,'a',1795640953632074,'scheduled',1795644000000000,'{"schedule": {"kind": "cron", "text": "0 * * * *", "timezone": "UTC", "anchor": "fire", "source": ""}, "policy": {}}');
INSERT INTO "chapters" VALUES(2,'b',1795640953670571,'scheduled',1795644000000000,'{"schedule": {"kind": "cron", "text": "0 * * * *", "timezone": "UTC", "anchor": "fire", "source": ""}, "policy": {}}');
CREATE TABLE fires (
	job_id TEXT NOT NULL, 
	"key" TEXT NOT NULL, 
	fire_at BIGINT DEFAULT '0' NOT NULL, 
	state TEXT DEFAULT '' NOT NULL, 
	manual SMALLINT DEFAULT '0' NOT NULL, 
	last_at BIGINT, 
	count BIGINT, 
	not_before BIGINT, 
	since BIGINT, 
	attempts BIGINT DEFAULT '0' NOT NULL, 
	failures BIGINT DEFAULT '0' NOT NULL, 
	deaths BIGINT DEFAULT '0' NOT NULL, 
	counted SMALLINT DEFAULT '0' NOT NULL, 
	reason TEXT DEFAULT '' NOT NULL, 
	settled_at BIGINT, 
	open SMALLINT DEFAULT '0' NOT NULL, 
	PRIMARY KEY (job_id, "key")
);
INSERT INTO "fires" VALUES('a','2026-07-01T12:00:00+00:00',1782907200000000,'succeeded',0,NULL,1,NULL,NULL,1,0,0,0,'',1782907200000000,0);
INSERT INTO "fires" VALUES('a','2026-07-01T13:00:00+00:00',1782910800000000,'failed',0,NULL,1,NULL,NULL,1,0,0,0,'',1782910800000000,0);
INSERT INTO "fires" VALUES('a','2026-07-01T14:00:00+00:00',1782914400000000,'missed',0,NULL,1,NULL,NULL,0,0,0,0,'',1782914400000000,0);
INSERT INTO "fires" VALUES('a','2026-07-01T15:00:00+00:00',1782918000000000,'running',0,NULL,1,NULL,NULL,1,0,0,0,'',NULL,1);
INSERT INTO "fires" VALUES('b','2026-07-01T12:00:00+00:00',1782907200000000,'succeeded',0,NULL,1,NULL,NULL,1,0,0,0,'',1782907200000000,0);
INSERT INTO "fires" VALUES('b','2026-07-01T13:00:00+00:00',1782910800000000,'failed',0,NULL,1,NULL,NULL,1,0,0,0,'',1782910800000000,0);
INSERT INTO "fires" VALUES('b','2026-07-01T14:00:00+00:00',1782914400000000,'missed',0,NULL,1,NULL,NULL,0,0,0,0,'',1782914400000000,0);
INSERT INTO "fires" VALUES('b','2026-07-01T15:00:00+00:00',1782918000000000,'running',0,NULL,1,NULL,NULL,1,0,0,0,'',NULL,1);
CREATE TABLE jobs (
	id TEXT NOT NULL, 
	state TEXT DEFAULT '' NOT NULL, 
	next_fire_at BIGINT, 
	last_fire_at BIGINT, 
	created_at BIGINT, 
	counted BIGINT DEFAULT '0' NOT NULL, 
	failures_in_row BIGINT DEFAULT '0' NOT NULL, 
	fence BIGINT DEFAULT '0' NOT NULL, 
	revision BIGINT DEFAULT '0' NOT NULL, 
	scheduled_in BIGINT DEFAULT '0' NOT NULL, 
	reason TEXT DEFAULT '' NOT NULL, 
	origin TEXT DEFAULT '' NOT NULL, 
	definition TEXT DEFAULT '' NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "jobs" VALUES('a','scheduled',1795644000000000,NULL,1795640953632074,0,0,1795640953632,1,1,'','','{"task": "app.task", "args": {}, "schedule": {"kind": "cron", "text": "0 * * * *", "timezone": "UTC", "anchor": "fire", "source": ""}, "policy": {}}');
INSERT INTO "jobs" VALUES('b','scheduled',1795644000000000,NULL,1795640953670571,0,0,1795640953670,1,1,'','','{"task": "app.task", "args": {}, "schedule": {"kind": "cron", "text": "0 * * * *", "timezone": "UTC", "anchor": "fire", "source": ""}, "policy": {}}');
CREATE TABLE meta (
	name TEXT NOT NULL, 
	value BIGINT DEFAULT '0' NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "meta" VALUES('stopped',0);
CREATE TABLE runs (
	id TEXT NOT NULL, 
	job_id TEXT DEFAULT '' NOT NULL, 
	"key" TEXT DEFAULT '' NOT NULL, 
	fire_at BIGINT DEFAULT '0' NOT NULL, 
	attempt BIGINT DEFAULT '0' NOT NULL, 
	fence BIGINT DEFAULT '0' NOT NULL, 
	task TEXT DEFAULT '' NOT NULL, 
	args TEXT DEFAULT '' NOT NULL, 
	state TEXT DEFAULT '' NOT NULL, 
	timeout FLOAT, 
	worker TEXT DEFAULT '' NOT NULL, 
	claimed_at BIGINT, 
	started_at BIGINT, 
	ended_at BIGINT, 
	lease_until BIGINT, 
	guard_at BIGINT, 
	cancel TEXT DEFAULT '' NOT NULL, 
	error TEXT DEFAULT '' NOT NULL, 
	result TEXT DEFAULT '' NOT NULL, 
	manual SMALLINT DEFAULT '0' NOT NULL, 
	deadline BIGINT, 
	open SMALLINT DEFAULT '0' NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "runs" VALUES('a:0','a','2026-07-01T12:00:00+00:00',1782907200000000,1,0,'app.task','{}','succeeded',NULL,'',1782907200000000,NULL,1782907200000000,1782907200000000,NULL,'','','',0,NULL,0);
INSERT INTO "runs" VALUES('a:1','a','2026-07-01T13:00:00+00:00',1782910800000000,1,1,'app.task','{}','failed',NULL,'',1782910800000000,NULL,1782910800000000,1782910800000000,NULL,'','','',0,NULL,0);
INSERT INTO "runs" VALUES('a:3','a','2026-07-01T15:00:00+00:00',1782918000000000,1,3,'app.task','{}','started',NULL,'',1782918000000000,NULL,NULL,1782918000000000,NULL,'','','',0,NULL,1);
INSERT INTO "runs" VALUES('b:0','b','2026-07-01T12:00:00+00:00',1782907200000000,1,0,'app.task','{}','succeeded',NULL,'',1782907200000000,NULL,1782907200000000,1782907200000000,NULL,'','','',0,NULL,0);
INSERT INTO "runs" VALUES('b:1','b','2026-07-01T13:00:00+00:00',1782910800000000,1,1,'app.task','{}','failed',NULL,'',1782910800000000,NULL,1782910800000000,1782910800000000,NULL,'','','',0,NULL,0);
INSERT INTO "runs" VALUES('b:3','b','2026-07-01T15:00:00+00:00',1782918000000000,1,3,'app.task','{}','started',NULL,'',1782918000000000,NULL,NULL,1782918000000000,NULL,'','','',0,NULL,1);
CREATE TABLE schema_version (
	version BIGINT NOT NULL, 
	PRIMARY KEY (version)
);
INSERT INTO "schema_version" VALUES(1);
CREATE INDEX jobs_by_next_fire ON jobs (next_fire_at);
CREATE INDEX arms_wanted ON arms (wake_at) WHERE wanted = 1;
CREATE INDEX arms_by_wake ON arms (wake_at);
CREATE INDEX runs_by_claim ON runs (claimed_at);
CREATE INDEX runs_by_job ON runs (job_id, claimed_at);
CREATE INDEX runs_open_by_lease ON runs (lease_until) WHERE open = 1;
CREATE INDEX runs_open_by_job ON runs (job_id) WHERE open = 1;
CREATE INDEX fires_by_instant ON fires (fire_at);
CREATE INDEX fires_open_by_job ON fires (job_id) WHERE open = 1;
CREATE INDEX fires_open_by_retry ON fires (not_before) WHERE open = 1;
CREATE INDEX fires_by_outcome ON fires (settled_at);
CREATE INDEX fires_by_job ON fires (job_id, fire_at);
CREATE INDEX chapters_by_job ON chapters (job_id, id);
COMMIT;
