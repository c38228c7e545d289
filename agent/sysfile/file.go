// Package sysfile reads kernel files: the small text files of sysfs, procfs and the control groups that are read again at
// every tick. A [File] stays open and is read with one pread, and the parsers cut numbers out of its bytes, so that reading
// thousands of counters allocates nothing.
package sysfile

import (
	"errors"
	"fmt"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"golang.org/x/sys/unix"
)

// ErrFull says that a file did not fit into the buffer, so that its end is missing.
var ErrFull = errors.New("file is larger than its buffer")

// File is a kernel file that is kept open. It is used by one goroutine at a time.
type File struct {
	fd   int
	gone goneError
}

// goneError is made once per file, so that noticing the end of a control group costs nothing.
type goneError struct{ path string }

func (e *goneError) Error() string { return "read " + e.path + ": " + agent.ErrGone.Error() }
func (e *goneError) Unwrap() error { return agent.ErrGone }

// Open opens a file for reading. The error names the path and wraps the system's error number, so that it can be compared
// with [io/fs.ErrNotExist] and [io/fs.ErrPermission].
func Open(path string) (*File, error) {
	for {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", path, err)
		}
		return &File{fd: fd, gone: goneError{path}}, nil
	}
}

// Reopen closes the file and opens its path anew, for files that do not begin again when they are read twice, and for those
// that came back after they were gone. When it fails, the file stays as it is.
func (f *File) Reopen() error {
	n, err := Open(f.Path())
	if err != nil {
		return err
	}
	err = f.Close()
	f.fd = n.fd
	return err
}

// Path returns the path that the file was opened by.
func (f *File) Path() string { return f.gone.path }

// Close closes the file. A second call does nothing.
func (f *File) Close() error {
	if f.fd < 0 {
		return nil
	}
	fd := f.fd
	f.fd = -1
	if err := unix.Close(fd); err != nil {
		return fmt.Errorf("close %s: %w", f.Path(), err)
	}
	return nil
}

// Read reads the file from its beginning into buf and returns the part of buf that was filled. It is one system call: a
// second read at an offset would make the kernel format the file anew and could tear it. The error is [agent.ErrGone] when
// the measured thing has ended and [ErrFull] when buf was filled to its end.
func (f *File) Read(buf []byte) ([]byte, error) {
	n, err := f.pread(buf, 0)
	if err != nil {
		return nil, err
	}
	if n == len(buf) {
		return nil, fmt.Errorf("read %s: %w (%d bytes)", f.Path(), ErrFull, len(buf))
	}
	return buf[:n], nil
}

// maxGrown bounds what [File.ReadGrow] takes for a file: more is no kernel file.
const maxGrown = 16 << 20

// ReadGrow is [File.Read] with a buffer that the caller owns and that is doubled until the file fits. It is for files
// whose size depends on the machine, such as /proc/stat.
func (f *File) ReadGrow(buf *[]byte) ([]byte, error) {
	for {
		n, err := f.pread(*buf, 0)
		if err != nil {
			return nil, err
		}
		if n < len(*buf) {
			return (*buf)[:n], nil
		}
		if n >= maxGrown {
			return nil, fmt.Errorf("read %s: %w (%d bytes)", f.Path(), ErrFull, n)
		}
		*buf = make([]byte, max(4096, 2*len(*buf)))
	}
}

// ReadAll is [File.ReadGrow] for files of many records, such as /proc/net/dev: the kernel gives at most a page of records
// with each system call, so that it takes several.
func (f *File) ReadAll(buf *[]byte) ([]byte, error) {
	if len(*buf) == 0 {
		*buf = make([]byte, 4096)
	}
	n := 0
	for {
		m, err := f.pread((*buf)[n:], int64(n))
		if err != nil {
			return nil, err
		}
		if m == 0 {
			return (*buf)[:n], nil
		}
		if n += m; n < len(*buf) {
			continue
		}
		if n >= maxGrown {
			return nil, fmt.Errorf("read %s: %w (%d bytes)", f.Path(), ErrFull, n)
		}
		grown := make([]byte, 2*len(*buf))
		copy(grown, *buf)
		*buf = grown
	}
}

// Uint reads a file that holds one decimal number. buf must be longer than the file; 32 bytes are enough.
func (f *File) Uint(buf []byte) (uint64, error) {
	b, err := f.Read(buf)
	if err != nil {
		return 0, err
	}
	v, err := Uint(b)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", f.Path(), err)
	}
	return v, nil
}

func (f *File) pread(buf []byte, offset int64) (int, error) {
	for {
		n, err := unix.Pread(f.fd, buf, offset)
		switch err {
		case nil:
			return n, nil
		case unix.EINTR:
		case unix.ENODEV, unix.ENOENT, unix.ESRCH:
			return 0, &f.gone
		default:
			return 0, fmt.Errorf("read %s: %w", f.Path(), err)
		}
	}
}

// ReadUint opens, reads and closes a file with one decimal number: for values that are read once.
func ReadUint(path string) (uint64, error) {
	f, err := Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var buf [64]byte
	return f.Uint(buf[:])
}

// ReadText opens, reads and closes a file and returns its text without the white space around it: for names that are read
// once. The file must be shorter than 16 MiB.
func ReadText(path string) (string, error) {
	f, err := Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	buf := make([]byte, 256)
	b, err := f.ReadGrow(&buf)
	if err != nil {
		return "", err
	}
	return string(trim(b)), nil
}
