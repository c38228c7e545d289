package sysfile

import (
	"unsafe"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"golang.org/x/sys/unix"
)

// ReadPath opens, reads and closes a file without allocating, for files that are too many to be kept open: those of all
// processes. path must end with a NUL byte. Like [File.Read] it is one read into buf. The errors are plain values without
// the path: [agent.ErrGone], [ErrFull], [ErrSyntax] for a path without NUL, or the system's error number.
func ReadPath(path, buf []byte) ([]byte, error) {
	if len(path) == 0 || path[len(path)-1] != 0 {
		return nil, ErrSyntax
	}
	fd, err := openPath(path)
	if err != nil {
		return nil, err
	}
	n, err := unix.Pread(fd, buf, 0)
	for err == unix.EINTR {
		n, err = unix.Pread(fd, buf, 0)
	}
	unix.Close(fd)
	switch {
	case err != nil:
		return nil, goneOr(err)
	case n == len(buf):
		return nil, ErrFull
	}
	return buf[:n], nil
}

// openPath makes the system call itself, because the ordinary one copies the path to the heap.
func openPath(path []byte) (fd int, err error) {
	at := unix.AT_FDCWD
	for {
		r, _, errno := unix.Syscall6(unix.SYS_OPENAT, uintptr(at), uintptr(unsafe.Pointer(&path[0])),
			unix.O_RDONLY|unix.O_CLOEXEC, 0, 0, 0)
		switch errno {
		case 0:
			return int(r), nil
		case unix.EINTR:
		default:
			return -1, goneOr(errno)
		}
	}
}

func goneOr(err error) error {
	if err == unix.ENOENT || err == unix.ESRCH || err == unix.ENODEV {
		return agent.ErrGone
	}
	return err
}
