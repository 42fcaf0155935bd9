"""The real llama.cpp, from the PyPI package xllamacpp: token ids, logits and greedy continuations.

Everything runs on the CPU with an f32 KV cache and without flash attention, so that a file of F32
tensors is computed in fp32 throughout. The package's shared object exports llama.cpp's C interface;
its parameter structs are passed as opaque blobs larger than they are, and the few fields set here
are first checked against their known defaults, so that another release's layout is noticed.
"""

import ctypes as c
import functools
import os
from pathlib import Path

import numpy as np

from wf.error import Error

N_CTX, N_BATCH, N_UBATCH, FLASH, TYPE_K, TYPE_V = 0, 1, 2, 13, 26, 27  # 32-bit words of the struct
FLASH_AUTO, FLASH_OFF, F16, F32 = 0xFFFFFFFF, 0, 1, 0
VOCAB_ONLY = 72  # byte of the model's parameters
LOG_ERROR, NO_VOCABULARY = 4, 0
BATCH = 512  # tokens decoded together
SMALL = 100_000_000  # bytes of a file


class Blob(c.Structure):
    _fields_ = [("words", c.c_uint32 * 256)]


class Batch(c.Structure):
    _fields_ = [
        ("n_tokens", c.c_int32),
        ("token", c.POINTER(c.c_int32)),
        ("embd", c.c_void_p),
        ("pos", c.POINTER(c.c_int32)),
        ("n_seq_id", c.POINTER(c.c_int32)),
        ("seq_id", c.POINTER(c.POINTER(c.c_int32))),
        ("logits", c.POINTER(c.c_int8)),
    ]


LOG_CALLBACK = c.CFUNCTYPE(None, c.c_int, c.c_char_p, c.c_void_p)
SIGNATURES = [
    ("llama_backend_init", None, []),
    ("llama_log_set", None, [LOG_CALLBACK, c.c_void_p]),
    ("llama_model_default_params", Blob, []),
    ("llama_context_default_params", Blob, []),
    ("llama_model_load_from_file", c.c_void_p, [c.c_char_p, Blob]),
    ("llama_init_from_model", c.c_void_p, [c.c_void_p, Blob]),
    ("llama_set_n_threads", None, [c.c_void_p, c.c_int32, c.c_int32]),
    ("llama_model_get_vocab", c.c_void_p, [c.c_void_p]),
    ("llama_vocab_n_tokens", c.c_int32, [c.c_void_p]),
    ("llama_vocab_type", c.c_int, [c.c_void_p]),
    ("llama_vocab_bos", c.c_int32, [c.c_void_p]),
    ("llama_vocab_eos", c.c_int32, [c.c_void_p]),
    ("llama_vocab_eot", c.c_int32, [c.c_void_p]),
    ("llama_vocab_get_add_bos", c.c_bool, [c.c_void_p]),
    ("llama_vocab_is_eog", c.c_bool, [c.c_void_p, c.c_int32]),
    (
        "llama_tokenize",
        c.c_int32,
        [c.c_void_p, c.c_char_p, c.c_int32, c.POINTER(c.c_int32), c.c_int32, c.c_bool, c.c_bool],
    ),
    (
        "llama_detokenize",
        c.c_int32,
        [c.c_void_p, c.POINTER(c.c_int32), c.c_int32, c.c_char_p, c.c_int32, c.c_bool, c.c_bool],
    ),
    ("llama_decode", c.c_int32, [c.c_void_p, Batch]),
    ("llama_get_logits_ith", c.POINTER(c.c_float), [c.c_void_p, c.c_int32]),
    ("llama_free", None, [c.c_void_p]),
    ("llama_model_free", None, [c.c_void_p]),
]

errors: list[str] = []  # what llama.cpp complained about since the last call


@LOG_CALLBACK
def remember_errors(level, text, _):
    if level == LOG_ERROR:
        errors.append(text.decode(errors="replace").strip())


@functools.cache
def library() -> c.CDLL:
    try:
        import xllamacpp
    except ImportError as error:
        raise Error(f"llama.cpp is missing; pip install xllamacpp ({error})") from error
    (path,) = Path(xllamacpp.__file__).parent.glob("xllamacpp*.so")
    library = c.CDLL(str(path))
    for name, result, arguments in SIGNATURES:
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    library.llama_log_set(remember_errors, None)
    library.llama_backend_init()
    return library


class Llama:
    """A loaded GGUF file. Throws Error with llama.cpp's reason when it refuses the file."""

    def __init__(self, path, vocab_only: bool = False):
        if not Path(path).is_file():
            raise Error(f"{path}: no such file")
        self.library, self.threads = library(), good_threads(path)
        parameters = self.library.llama_model_default_params()
        c.cast(c.byref(parameters), c.POINTER(c.c_uint8))[VOCAB_ONLY] = vocab_only
        errors.clear()
        self.model = self.library.llama_model_load_from_file(os.fsencode(path), parameters)
        if not self.model:
            raise Error(f"{path}: llama.cpp refuses the file: {reason()}")
        self.vocab = self.library.llama_model_get_vocab(self.model)
        self.vocab_size = self.library.llama_vocab_n_tokens(self.vocab)

    def close(self) -> None:
        if self.model:
            self.library.llama_model_free(self.model)
            self.model = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def tokenize(self, text: str, add_special: bool = False, parse_special: bool = False):
        """Ids of a text; add_special puts BOS/EOS where the file says so."""
        if self.library.llama_vocab_type(self.vocab) == NO_VOCABULARY:  # llama.cpp would abort
            raise Error("the file has no tokenizer, so it can be asked for ids only")
        raw = text.encode()
        ids = (c.c_int32 * (len(raw) + 16))()
        count = self.library.llama_tokenize(
            self.vocab, raw, len(raw), ids, len(ids), add_special, parse_special
        )
        if count < 0:
            raise Error(f"llama.cpp could not tokenise a text of {len(raw):,} bytes")
        return ids[:count]

    def text(self, tokens: list[int], special: bool = True) -> str:
        ids = (c.c_int32 * len(tokens))(*tokens)
        raw = c.create_string_buffer(64 * len(tokens) + 256)
        size = self.library.llama_detokenize(
            self.vocab, ids, len(tokens), raw, len(raw), False, special
        )
        if size < 0:
            raise Error(f"llama.cpp could not write {len(tokens):,} tokens as text")
        return raw.raw[:size].decode(errors="replace")

    def logits(self, tokens) -> np.ndarray:
        """float32 [len(tokens), vocab_size]: after each token, the next one's logits."""
        with Context(self, len(tokens)) as context:
            return context.append(tokens)

    def greedy(self, tokens, count: int) -> list[int]:
        """The `count` tokens of highest logit that follow, whether or not they end the text."""
        result: list[int] = []
        with Context(self, len(tokens) + count) as context:
            last = context.append(tokens)[-1]
            while len(result) < count:
                result.append(int(last.argmax()))
                last = context.append(result[-1:])[-1]
        return result


class Context:
    """A sequence that grows: its keys and values in f32."""

    def __init__(self, llama: Llama, length: int):
        self.llama, self.library, self.length = llama, llama.library, 0
        parameters = self.library.llama_context_default_params()
        words = parameters.words
        if (words[FLASH], words[TYPE_K], words[TYPE_V]) != (FLASH_AUTO, F16, F16):
            raise Error("this xllamacpp lays its parameters out in another way; install the pinned")
        words[N_CTX] = max(length, 8)
        words[N_BATCH] = words[N_UBATCH] = min(max(length, 8), BATCH)
        words[FLASH], words[TYPE_K], words[TYPE_V] = FLASH_OFF, F32, F32
        errors.clear()
        self.context = self.library.llama_init_from_model(llama.model, parameters)
        if not self.context:
            raise Error(f"llama.cpp could not make room for {length:,} tokens: {reason()}")
        self.library.llama_set_n_threads(self.context, llama.threads, llama.threads)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.library.llama_free(self.context)

    def append(self, tokens) -> np.ndarray:
        tokens = [int(token) for token in tokens]
        for token in tokens:
            if not 0 <= token < self.llama.vocab_size:
                raise Error(f"token {token} is outside the file's {self.llama.vocab_size:,} tokens")
        parts = [tokens[i : i + BATCH] for i in range(0, len(tokens), BATCH)]
        return np.concatenate([self.decode(part) for part in parts])

    def decode(self, tokens: list[int]) -> np.ndarray:
        n = len(tokens)
        sequence = (c.c_int32 * 1)(0)
        batch = Batch(
            n,
            (c.c_int32 * n)(*tokens),
            None,
            (c.c_int32 * n)(*range(self.length, self.length + n)),
            (c.c_int32 * n)(*[1] * n),
            (c.POINTER(c.c_int32) * n)(*[c.cast(sequence, c.POINTER(c.c_int32))] * n),
            (c.c_int8 * n)(*[1] * n),
        )
        errors.clear()
        if code := self.library.llama_decode(self.context, batch):
            raise Error(f"llama.cpp could not evaluate {n} tokens (code {code}): {reason()}")
        self.length += n
        shape = (self.llama.vocab_size,)
        rows = [self.library.llama_get_logits_ith(self.context, i) for i in range(n)]
        return np.stack([np.ctypeslib.as_array(row, shape).copy() for row in rows])


def good_threads(path) -> int:
    """One for a small model: llama.cpp's threads spin while they wait for each other, so that on a
    busy machine several take seconds where one takes a millisecond."""
    return 1 if Path(path).stat().st_size < SMALL else len(os.sched_getaffinity(0))


def reason() -> str:
    """llama.cpp's first complaint, which names the cause; later ones say that loading failed."""
    return errors[0] if errors else "it gives no reason"


BLOCK_BYTES = {"tq1_0": (256, 54), "tq2_0": (256, 66), "q2_0": (64, 18), "q8_0": (32, 34)}


def dequantize(kind: str, blocks: bytes) -> np.ndarray:
    """ggml's own decoder of consecutive blocks of TQ1_0, TQ2_0, Q2_0 or Q8_0: float32 [n]."""
    elements, size = BLOCK_BYTES[kind]
    values = np.empty(len(blocks) // size * elements, np.float32)
    function = getattr(library(), f"dequantize_row_{kind}")
    function.restype, function.argtypes = None, [c.c_char_p, c.c_void_p, c.c_int64]
    function(blocks, values.ctypes.data, values.size)
    return values
