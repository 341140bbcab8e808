"""Every error of hermes_cron, in one tree; each class has a stable code and the exit code of its kind.

HermesCronError             something a person or a caller can act on
├── ConfigError             a setting is unknown, impossible or missing
├── ScheduleError           (also ValueError) a schedule cannot be read, or can never fire
├── JobInvalid              (also ValueError) a job's field is out of its range
├── JobNotFound             (also LookupError) no job has this id
├── JobExists               a job has this id already
├── JobStateError           the job's state does not allow this
│   └── JobChanged          the job is not at the expected revision any more
├── TaskNotFound            (also LookupError) no task has this name
├── TaskInvalid             (also ValueError) a task cannot be declared or called like this
├── TaskFailed              a task of the box did not do what it was to do
├── RunNotFound             (also LookupError) no run has this id
├── RunNotEnded             the run is still open, and what it says is not kept yet; try again
├── FireInvalid             (also ValueError) a fire's job id or instant cannot be read
├── TimeInvalid             (also ValueError) an instant or a span of time that cannot be gone to
├── MessageRejected         a run message of an unknown version or shape
├── TokenRejected           a fire token is not good; its reason is for the log only
├── KeysUnavailable         the keys to judge a token cannot be had now; try again
├── BrokerError             the queue cannot be reached
│   └── Draining            this process is about to end and takes no more fires
├── StoreError              the store cannot be reached, or is damaged
│   └── StoreBusy           the store is locked by somebody else; try again
├── NasError                NAS cannot be reached, or did not answer as it should
│   └── NasRefused          NAS refuses for good: trying again cannot help
├── AgentInvalid            an agent of our own NAS cannot be added, or does not exist
├── ArmWanted               the change is stored, but NAS does not hold its alarm yet
├── OutboundError           an HTTP call of ours to somebody else failed
│   └── AddressRefused      it would have gone to an address that is not allowed
├── ProviderError           a provider could not be loaded
└── AddressInUse            a port to listen on is taken
"""

from __future__ import annotations


class HermesCronError(Exception):
    """Something went wrong that its reader can act on: `message` says what and where, `hint` what to do."""

    code = "error"
    exit_code = 1

    def __init__(self, message: str, *, hint: str = "", field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.field = field

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message


class ConfigError(HermesCronError):
    """A setting is unknown, impossible or missing."""

    code = "config_invalid"
    exit_code = 78


class ScheduleError(HermesCronError, ValueError):
    """A schedule cannot be read, or can never fire."""

    code = "schedule_invalid"
    exit_code = 2


class JobInvalid(HermesCronError, ValueError):
    """A job's field is out of its range."""

    code = "job_invalid"
    exit_code = 2


class JobNotFound(HermesCronError, LookupError):
    """No job has this id."""

    code = "job_not_found"


class JobExists(HermesCronError):
    """A job has this id already."""

    code = "job_exists"


class JobStateError(HermesCronError):
    """The job's state does not allow this."""

    code = "job_state"


class JobChanged(JobStateError):
    """The job is not at the expected revision any more: somebody changed it meanwhile."""

    code = "job_changed"


class TaskNotFound(HermesCronError, LookupError):
    """No task has this name."""

    code = "task_not_found"


class TaskInvalid(HermesCronError, ValueError):
    """A task cannot be declared or called like this."""

    code = "task_invalid"
    exit_code = 2


class TaskFailed(HermesCronError):
    """A task of the box did not do what it was to do; the message is one line, for the run's error."""

    code = "task_failed"


class RunNotFound(HermesCronError, LookupError):
    """No run has this id."""

    code = "run_not_found"


class RunNotEnded(HermesCronError):
    """The run is still open, and what it says is kept at its end only."""

    code = "run_not_ended"
    exit_code = 75


class FireInvalid(HermesCronError, ValueError):
    """A fire's job id or instant cannot be read."""

    code = "fire_invalid"
    exit_code = 2


class TimeInvalid(HermesCronError, ValueError):
    """An instant or a span of time cannot be read, or a frozen clock cannot be moved there."""

    code = "time_invalid"
    exit_code = 2


class MessageRejected(HermesCronError):
    """A run message has an unknown version or shape."""

    code = "message_rejected"


class TokenRejected(HermesCronError):
    """A fire token is not good; `reason` is a stable code for the log and the metrics, never for the answer."""

    code = "token_rejected"

    def __init__(self, reason: str, message: str = "") -> None:
        super().__init__(message or f"the fire token was refused: {reason}")
        self.reason = reason


class KeysUnavailable(HermesCronError):
    """The keys to judge a token cannot be had now; the same token may be good in `retry_after` seconds."""

    code = "keys_unavailable"
    exit_code = 75

    def __init__(self, message: str, *, retry_after: int = 5) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class BrokerError(HermesCronError):
    """The queue cannot be reached."""

    code = "broker_unreachable"
    exit_code = 69
    retry_after = 5


class Draining(BrokerError):
    """Our process is about to end and takes no more fires; somebody else will in `retry_after` seconds."""

    code = "draining"
    exit_code = 75
    retry_after = 1


class StoreError(HermesCronError):
    """The store cannot be reached, or is damaged."""

    code = "store_unreachable"
    exit_code = 69


class StoreBusy(StoreError):
    """The store is locked by somebody else for longer than we wait."""

    code = "store_busy"
    exit_code = 75


class NasError(HermesCronError):
    """NAS cannot be reached, or did not answer as it should; `sent` tells whether it may have acted all the same."""

    code = "nas_unreachable"
    exit_code = 75

    def __init__(self, message: str, *, sent: bool = False, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.sent = sent
        self.retry_after = retry_after


class NasRefused(NasError):
    """NAS refuses for good: trying the same call again cannot help; `reason` is NAS's own word."""

    code = "nas_refused"
    exit_code = 1

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class AgentInvalid(HermesCronError):
    """An agent of our own NAS cannot be added like this, or does not exist."""

    code = "agent_invalid"


class ArmWanted(HermesCronError):
    """The change is stored, but NAS does not hold its alarm yet; a live worker goes on trying."""

    code = "arm_wanted"
    exit_code = 75


class OutboundError(HermesCronError):
    """An HTTP call of ours failed; `sent` tells whether the other side may have acted on it all the same."""

    code = "outbound_failed"
    exit_code = 69

    def __init__(self, message: str, *, sent: bool = False) -> None:
        super().__init__(message)
        self.sent = sent


class AddressRefused(OutboundError):
    """An HTTP call of ours would have gone to an address that is not allowed; nothing was sent."""

    code = "address_refused"


class ProviderError(HermesCronError):
    """A provider could not be loaded."""

    code = "provider_invalid"
    exit_code = 78


class AddressInUse(HermesCronError):
    """A port to listen on is taken."""

    code = "address_in_use"
