package main

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// reading is a CPU time in ns, in all and by package. Where a source does not
// know the CPUs (cgroup v2) and there is more than one package, only the
// total is known and the parts are 0.
type reading struct {
	total uint64
	pkg   [maxPackages]uint64
}

// plus returns the sum of r and s.
func (r reading) plus(s reading) reading {
	r.total += s.total
	for p := range r.pkg {
		r.pkg[p] += s.pkg[p]
	}
	return r
}

// minus returns r less s, 0 in the parts where s is larger.
func (r reading) minus(s reading) reading {
	r.total -= min(r.total, s.total)
	for p := range r.pkg {
		r.pkg[p] -= min(r.pkg[p], s.pkg[p])
	}
	return r
}

// since returns how far a counter went from prev to r. A counter that is
// smaller than before was set to 0 in between, so that all of it is new.
func (r reading) since(prev reading) reading {
	if r.total < prev.total {
		return r
	}
	return r.minus(prev)
}

// errVanished: the cgroup behind an open file or folder has been removed.
var errVanished = errors.New("cgroup has vanished")

// vanished turns the errors by which the kernel says that a cgroup is gone
// into errVanished.
func vanished(err error) error {
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT) {
		return errVanished
	}
	return err
}

// reader reads kernel files and folders into buffers of its own. It is not
// safe for concurrent use.
type reader struct {
	buf  []byte
	stat unix.Stat_t
}

// newReader returns a reader whose buffer holds the per-CPU counters of the
// largest machines in one read.
func newReader() *reader {
	return &reader{buf: make([]byte, 256<<10)}
}

// open opens a file or folder relative to a folder (or to unix.AT_FDCWD).
func open(dirfd int, name string, flags int) (int, error) {
	fd, err := unix.Openat(dirfd, name, unix.O_RDONLY|unix.O_CLOEXEC|flags, 0)
	if err != nil {
		return -1, vanished(fmt.Errorf("open %s: %w", name, err))
	}
	return fd, nil
}

// file returns the text of an open file, which is valid until the next call.
func (r *reader) file(fd int) ([]byte, error) {
	for {
		n, err := unix.Pread(fd, r.buf, 0)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return nil, vanished(err)
		case n == len(r.buf):
			return nil, errors.New("kernel file is longer than the buffer")
		default:
			return r.buf[:n], nil
		}
	}
}

// links returns the link count of an open folder: in cgroups as in most file
// systems two more than its subfolders.
func (r *reader) links(fd int) (uint64, error) {
	if err := unix.Fstat(fd, &r.stat); err != nil {
		return 0, vanished(err)
	}
	// An ordinary folder that has been removed has no links left; a cgroup
	// says ENODEV when one of its files is read.
	if r.stat.Nlink == 0 {
		return 0, errVanished
	}
	return uint64(r.stat.Nlink), nil
}

// subdirs calls f with the name of every subfolder of an open folder. The
// name is valid only during the call, and f must not use the reader.
func (r *reader) subdirs(fd int, f func(name []byte)) error {
	if _, err := unix.Seek(fd, 0, 0); err != nil {
		return vanished(err)
	}
	for {
		n, err := unix.Getdents(fd, r.buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return vanished(err)
		}
		if n == 0 {
			return nil
		}
		for b := r.buf[:n]; len(b) > 0; {
			entry := (*unix.Dirent)(unsafe.Pointer(&b[0]))
			name := b[unsafe.Offsetof(entry.Name):entry.Reclen]
			name = name[:max(0, bytes.IndexByte(name, 0))]
			if entry.Type == unix.DT_DIR && !slices.Equal(name, []byte(".")) && !slices.Equal(name, []byte("..")) {
				f(name)
			}
			b = b[entry.Reclen:]
		}
	}
}

// parsePerCPU reads cpuacct.usage_percpu: one number of ns for each possible
// CPU. The slots give the package of each.
func parsePerCPU(b []byte, slots []int) (r reading, err error) {
	slot, inNumber := 0, false
	var v uint64
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9':
			v = v*10 + uint64(c-'0')
			inNumber = true
		case c == ' ' || c == '\n':
			if !inNumber {
				continue
			}
			if slot == len(slots) {
				return r, fmt.Errorf("more than %d CPUs in %q", len(slots), b)
			}
			r.total += v
			if p := slots[slot]; p >= 0 {
				r.pkg[p] += v
			}
			slot, inNumber, v = slot+1, false, 0
		default:
			return r, fmt.Errorf("no number of ns in %q", b)
		}
	}
	if slot != len(slots) {
		return r, fmt.Errorf("%d CPUs, want %d in %q", slot, len(slots), b)
	}
	return r, nil
}

// parseCPUStat reads usage_usec from cgroup v2's cpu.stat. With one package
// all of it is that package's.
func parseCPUStat(b []byte, packages int) (r reading, err error) {
	const key = "usage_usec "
	i := bytes.Index(b, []byte(key))
	if i < 0 || i > 0 && b[i-1] != '\n' {
		return r, fmt.Errorf("no usage_usec in %q", b)
	}
	digits := 0
	for _, c := range b[i+len(key):] {
		if c < '0' || c > '9' {
			break
		}
		r.total = r.total*10 + uint64(c-'0')
		digits++
	}
	if digits == 0 {
		return r, fmt.Errorf("no number of µs in %q", b)
	}
	r.total *= 1000
	if packages == 1 {
		r.pkg[0] = r.total
	}
	return r, nil
}
