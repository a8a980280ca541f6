"""Which environment variables worker processes get: what Python, torch, the compiler and cellsearch
read. A training is code of other people's parts too, and has no use for the credentials of whoever
started the search.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from cellsearch.errors import ConfigError

__all__ = ["allowed", "named"]

_ALLOWED = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "TZ", "LANG", "LANGUAGE", "LC_*"),
    *("TMPDIR", "TEMP", "TMP", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR"),
    *("PYTHON*", "VIRTUAL_ENV", "CONDA_*", "LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_*"),
    *("OMP_*", "GOMP_*", "KMP_*", "MKL_*", "OPENBLAS_*", "VECLIB_*", "NUMEXPR_*", "MALLOC_*"),
    *("CUDA_*", "NVIDIA_*", "CUBLAS_*", "CUDNN_*", "NCCL_*", "HIP_*", "ROCR_*", "HSA_*"),
    *("TORCH_*", "TORCHINDUCTOR_*", "PYTORCH_*", "ATEN_*", "TRITON_*"),
    *("CC", "CXX", "CFLAGS", "LDFLAGS", "CPATH", "C_INCLUDE_PATH", "LIBRARY_PATH"),
    *("COVERAGE_*", "CELLSEARCH_*", "RAY_*"),
)
_RAY_NEEDS = frozenset({"RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"})
_CREDENTIAL = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|AUTH|PRIVATE|(^|_)(API)?KEYS?($|_)", re.I)


def allowed(environment: Mapping[str, str]) -> dict[str, str]:
    """What of the environment every worker gets: no name that sounds like a credential, but for the
    path of the token that Ray itself reads.
    """
    return {
        name: value
        for name, value in environment.items()
        if name in _RAY_NEEDS or (_matches(name, _ALLOWED) and not _CREDENTIAL.search(name))
    }


def named(environment: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """What of the environment the user wants workers to have besides.

    names: of variables, or patterns such as ``HF_*``; a pattern leaves out what sounds like a
    credential, which has to be named in full. A name that is not set is left out.

    Raises :class:`ConfigError` for what cannot be a name.
    """
    wanted = tuple(names)
    for name in wanted:
        if not re.fullmatch(r"[A-Za-z_*?][A-Za-z0-9_*?]*", name):
            raise ConfigError(
                f"{name!r} is not the name of an environment variable",
                hint="write the name alone, or a pattern: HF_HOME, HF_*",
            )
    return {
        name: value
        for name, value in environment.items()
        if name in wanted or (_matches(name, wanted) and not _CREDENTIAL.search(name))
    }


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
