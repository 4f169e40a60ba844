"""Making names last: what a file system does not support is left out.

Lustre, SMB and FUSE do not all sync folders or lock files. The standard library alone, for Python
3.8: hooks use it too.
"""

from __future__ import annotations

import errno
import os

#: What a file system says when it does not support a call.
UNSUPPORTED = {
    errno.EINVAL,
    errno.ENOSYS,
    errno.ENOTTY,
    errno.EOPNOTSUPP,
    errno.ENOTSUP,  # the same number on Linux, another one on macOS
    errno.EBADF,  # some want a folder to be open for writing, which no folder can be
    errno.ENOLCK,  # NFS without a lock daemon
}


def sync(descriptor: int) -> None:
    """Wait until a file, or the names in a folder, are on the disk, if that can be asked for.

    Raises:
        OSError: the disk does not take them.
    """
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
