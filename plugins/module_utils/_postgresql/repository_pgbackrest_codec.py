# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decompresses what pgBackRest compressed, so that archived WAL can be read where no data directory is.

`pgbackrest archive-get` reads whole segments too, but only beside a data directory with a `pg_control`, which a
drill has not got while it still plans. Python knows gzip and bzip2; for lz4 and zstd the two libraries are called that
pgBackRest itself is linked with, so they are there wherever it is.
"""

from __future__ import annotations

import bz2
import ctypes
import gzip
from typing import Callable

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import Damaged, OpsError

#: The largest WAL segment there is.
_MOST = 1 << 30


def decompress(name: str, content: bytes) -> bytes:
    """The content of a repository file, whose name tells the compression. Raises Damaged where it is not whole."""
    ending = name.rpartition(".")[2] if "." in name else ""
    codec = _CODECS.get(ending)
    if codec is None:
        return content
    try:
        return codec(content)
    except (OSError, EOFError, ValueError) as exc:
        raise Damaged(f"{name} is damaged: {exc}") from exc


def _library(name: str) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(name)
    except OSError as exc:
        raise OpsError(f"the library {name} is missing, which pgBackRest itself uses; reinstall pgbackrest") from exc


def _zst(content: bytes) -> bytes:
    library = _library("libzstd.so.1")
    library.ZSTD_decompress.restype = ctypes.c_size_t
    library.ZSTD_getErrorName.restype = ctypes.c_char_p
    library.ZSTD_getErrorName.argtypes = library.ZSTD_isError.argtypes = [ctypes.c_size_t]
    library.ZSTD_decompress.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]
    room = 16 << 20
    while True:
        target = ctypes.create_string_buffer(room)
        size = library.ZSTD_decompress(target, room, content, len(content))
        if not library.ZSTD_isError(size):
            return ctypes.string_at(target, size)
        told = library.ZSTD_getErrorName(size).decode()
        if "too small" not in told or room >= _MOST:
            raise ValueError(told)
        room *= 4


def _lz4(content: bytes) -> bytes:
    library = _library("liblz4.so.1")
    library.LZ4F_decompress.restype = library.LZ4F_createDecompressionContext.restype = ctypes.c_size_t
    library.LZ4F_getErrorName.restype = ctypes.c_char_p
    library.LZ4F_getErrorName.argtypes = library.LZ4F_isError.argtypes = [ctypes.c_size_t]
    size_pointer = ctypes.POINTER(ctypes.c_size_t)
    library.LZ4F_decompress.argtypes = [
        ctypes.c_void_p, ctypes.c_void_p, size_pointer, ctypes.c_void_p, size_pointer, ctypes.c_void_p,
    ]
    library.LZ4F_freeDecompressionContext.argtypes = [ctypes.c_void_p]
    context = ctypes.c_void_p()
    library.LZ4F_createDecompressionContext(ctypes.byref(context), 100)
    source = ctypes.create_string_buffer(content, len(content))
    room = 1 << 20
    target = ctypes.create_string_buffer(room)
    parts: list[bytes] = []
    offset, expected = 0, 1
    try:
        while expected != 0:
            given, taken = ctypes.c_size_t(room), ctypes.c_size_t(len(content) - offset)
            expected = library.LZ4F_decompress(
                context, target, ctypes.byref(given), ctypes.addressof(source) + offset, ctypes.byref(taken), None
            )
            if library.LZ4F_isError(expected):
                raise ValueError(library.LZ4F_getErrorName(expected).decode())
            if not given.value and not taken.value:
                raise ValueError("it ends too early")
            parts.append(ctypes.string_at(target, given.value))
            offset += taken.value
    finally:
        library.LZ4F_freeDecompressionContext(context)
    return b"".join(parts)


_CODECS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.decompress,
    "bz2": bz2.decompress,
    "lz4": _lz4,
    "zst": _zst,
}
