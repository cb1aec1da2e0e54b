from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WatchRequest(_message.Message):
    __slots__ = ("gateway_id", "min_interval_ms", "residency", "cut_version", "hears_pulse", "rank")
    GATEWAY_ID_FIELD_NUMBER: _ClassVar[int]
    MIN_INTERVAL_MS_FIELD_NUMBER: _ClassVar[int]
    RESIDENCY_FIELD_NUMBER: _ClassVar[int]
    CUT_VERSION_FIELD_NUMBER: _ClassVar[int]
    HEARS_PULSE_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    gateway_id: str
    min_interval_ms: int
    residency: bool
    cut_version: int
    hears_pulse: bool
    rank: int
    def __init__(self, gateway_id: _Optional[str] = ..., min_interval_ms: _Optional[int] = ..., residency: _Optional[bool] = ..., cut_version: _Optional[int] = ..., hears_pulse: _Optional[bool] = ..., rank: _Optional[int] = ...) -> None: ...

class Report(_message.Message):
    __slots__ = ("sequence", "hello", "load", "snapshot", "delta", "adapters")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    HELLO_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    ADAPTERS_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    hello: Hello
    load: Load
    snapshot: ResidencySnapshot
    delta: ResidencyDelta
    adapters: Adapters
    def __init__(self, sequence: _Optional[int] = ..., hello: _Optional[_Union[Hello, _Mapping]] = ..., load: _Optional[_Union[Load, _Mapping]] = ..., snapshot: _Optional[_Union[ResidencySnapshot, _Mapping]] = ..., delta: _Optional[_Union[ResidencyDelta, _Mapping]] = ..., adapters: _Optional[_Union[Adapters, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("replica_id", "model", "max_silence_ms", "cut_version")
    REPLICA_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MAX_SILENCE_MS_FIELD_NUMBER: _ClassVar[int]
    CUT_VERSION_FIELD_NUMBER: _ClassVar[int]
    replica_id: str
    model: str
    max_silence_ms: int
    cut_version: int
    def __init__(self, replica_id: _Optional[str] = ..., model: _Optional[str] = ..., max_silence_ms: _Optional[int] = ..., cut_version: _Optional[int] = ...) -> None: ...

class Load(_message.Message):
    __slots__ = ("running", "waiting", "waiting_tokens", "kv_usage", "kv_capacity_tokens", "prefill_tokens_per_s", "decode_tokens_per_s", "accepted", "step_tokens", "gateways", "media", "speculation", "tiers", "steps")
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    WAITING_TOKENS_FIELD_NUMBER: _ClassVar[int]
    KV_USAGE_FIELD_NUMBER: _ClassVar[int]
    KV_CAPACITY_TOKENS_FIELD_NUMBER: _ClassVar[int]
    PREFILL_TOKENS_PER_S_FIELD_NUMBER: _ClassVar[int]
    DECODE_TOKENS_PER_S_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    STEP_TOKENS_FIELD_NUMBER: _ClassVar[int]
    GATEWAYS_FIELD_NUMBER: _ClassVar[int]
    MEDIA_FIELD_NUMBER: _ClassVar[int]
    SPECULATION_FIELD_NUMBER: _ClassVar[int]
    TIERS_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    running: int
    waiting: int
    waiting_tokens: int
    kv_usage: float
    kv_capacity_tokens: int
    prefill_tokens_per_s: float
    decode_tokens_per_s: float
    accepted: int
    step_tokens: int
    gateways: int
    media: Media
    speculation: Speculation
    tiers: Tiers
    steps: Steps
    def __init__(self, running: _Optional[int] = ..., waiting: _Optional[int] = ..., waiting_tokens: _Optional[int] = ..., kv_usage: _Optional[float] = ..., kv_capacity_tokens: _Optional[int] = ..., prefill_tokens_per_s: _Optional[float] = ..., decode_tokens_per_s: _Optional[float] = ..., accepted: _Optional[int] = ..., step_tokens: _Optional[int] = ..., gateways: _Optional[int] = ..., media: _Optional[_Union[Media, _Mapping]] = ..., speculation: _Optional[_Union[Speculation, _Mapping]] = ..., tiers: _Optional[_Union[Tiers, _Mapping]] = ..., steps: _Optional[_Union[Steps, _Mapping]] = ...) -> None: ...

class Steps(_message.Message):
    __slots__ = ("decode_tokens_per_s", "sequences", "prompt_tokens", "answer_tokens_per_s", "added_tokens_per_s")
    DECODE_TOKENS_PER_S_FIELD_NUMBER: _ClassVar[int]
    SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    ANSWER_TOKENS_PER_S_FIELD_NUMBER: _ClassVar[int]
    ADDED_TOKENS_PER_S_FIELD_NUMBER: _ClassVar[int]
    decode_tokens_per_s: float
    sequences: float
    prompt_tokens: float
    answer_tokens_per_s: float
    added_tokens_per_s: float
    def __init__(self, decode_tokens_per_s: _Optional[float] = ..., sequences: _Optional[float] = ..., prompt_tokens: _Optional[float] = ..., answer_tokens_per_s: _Optional[float] = ..., added_tokens_per_s: _Optional[float] = ...) -> None: ...

class Speculation(_message.Message):
    __slots__ = ("drafts", "draft_tokens", "accepted_by_position", "tokens_per_step", "speedup")
    DRAFTS_FIELD_NUMBER: _ClassVar[int]
    DRAFT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_BY_POSITION_FIELD_NUMBER: _ClassVar[int]
    TOKENS_PER_STEP_FIELD_NUMBER: _ClassVar[int]
    SPEEDUP_FIELD_NUMBER: _ClassVar[int]
    drafts: int
    draft_tokens: int
    accepted_by_position: _containers.RepeatedScalarFieldContainer[int]
    tokens_per_step: float
    speedup: float
    def __init__(self, drafts: _Optional[int] = ..., draft_tokens: _Optional[int] = ..., accepted_by_position: _Optional[_Iterable[int]] = ..., tokens_per_step: _Optional[float] = ..., speedup: _Optional[float] = ...) -> None: ...

class Media(_message.Message):
    __slots__ = ("fetched", "fetched_bytes", "refused")
    class RefusedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    FETCHED_FIELD_NUMBER: _ClassVar[int]
    FETCHED_BYTES_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    fetched: int
    fetched_bytes: int
    refused: _containers.ScalarMap[str, int]
    def __init__(self, fetched: _Optional[int] = ..., fetched_bytes: _Optional[int] = ..., refused: _Optional[_Mapping[str, int]] = ...) -> None: ...

class Adapters(_message.Message):
    __slots__ = ("held", "slots", "load_s", "loads", "names")
    HELD_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    LOAD_S_FIELD_NUMBER: _ClassVar[int]
    LOADS_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    held: _containers.RepeatedScalarFieldContainer[str]
    slots: int
    load_s: float
    loads: int
    names: AdapterNames
    def __init__(self, held: _Optional[_Iterable[str]] = ..., slots: _Optional[int] = ..., load_s: _Optional[float] = ..., loads: _Optional[int] = ..., names: _Optional[_Union[AdapterNames, _Mapping]] = ...) -> None: ...

class AdapterNames(_message.Message):
    __slots__ = ("known", "problems")
    class ProblemsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    known: _containers.RepeatedScalarFieldContainer[str]
    problems: _containers.ScalarMap[str, str]
    def __init__(self, known: _Optional[_Iterable[str]] = ..., problems: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Chunks(_message.Message):
    __slots__ = ("hashes", "tokens")
    HASHES_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    hashes: bytes
    tokens: bytes
    def __init__(self, hashes: _Optional[bytes] = ..., tokens: _Optional[bytes] = ...) -> None: ...

class ResidencySnapshot(_message.Message):
    __slots__ = ("sequence", "resident", "more", "lower")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    RESIDENT_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    LOWER_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    resident: Chunks
    more: bool
    lower: Chunks
    def __init__(self, sequence: _Optional[int] = ..., resident: _Optional[_Union[Chunks, _Mapping]] = ..., more: _Optional[bool] = ..., lower: _Optional[_Union[Chunks, _Mapping]] = ...) -> None: ...

class ResidencyDelta(_message.Message):
    __slots__ = ("sequence", "resident", "evicted", "lower")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    RESIDENT_FIELD_NUMBER: _ClassVar[int]
    EVICTED_FIELD_NUMBER: _ClassVar[int]
    LOWER_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    resident: Chunks
    evicted: bytes
    lower: Chunks
    def __init__(self, sequence: _Optional[int] = ..., resident: _Optional[_Union[Chunks, _Mapping]] = ..., evicted: _Optional[bytes] = ..., lower: _Optional[_Union[Chunks, _Mapping]] = ...) -> None: ...

class Tiers(_message.Message):
    __slots__ = ("device_tokens", "host_tokens", "disk_tokens", "fetched_tokens", "fetch_s_per_token")
    DEVICE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    HOST_TOKENS_FIELD_NUMBER: _ClassVar[int]
    DISK_TOKENS_FIELD_NUMBER: _ClassVar[int]
    FETCHED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    FETCH_S_PER_TOKEN_FIELD_NUMBER: _ClassVar[int]
    device_tokens: int
    host_tokens: int
    disk_tokens: int
    fetched_tokens: int
    fetch_s_per_token: float
    def __init__(self, device_tokens: _Optional[int] = ..., host_tokens: _Optional[int] = ..., disk_tokens: _Optional[int] = ..., fetched_tokens: _Optional[int] = ..., fetch_s_per_token: _Optional[float] = ...) -> None: ...
