package csv

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// sink is an open file. It is an interface so that tests can fill the disk.
type sink interface {
	io.Writer
	Truncate(size int64) error
	// Size returns the present size; it is 0 for what is no regular file.
	Size() (int64, error)
	Close() error
}

// file is the output file. It appends to what is there, begins a new file when this one is full or has other columns, and
// takes a write that failed half-way back.
type file struct {
	path     string
	maxSize  int64 // 0: no limit
	maxFiles int   // old files to keep; 0: all
	retryAt  int64 // size at which a rotation that failed is tried again; 0: none has failed
	log      *slog.Logger

	sink    sink
	regular bool
	header  []byte
	begun   bool  // the header is in the file, for what is no regular file
	torn    bool  // a write failed and could not be taken back yet
	good    int64 // size before the write that failed
}

// disk is the sink of a real file.
type disk struct {
	*os.File
	stat unix.Stat_t // a field, so that asking for the size allocates nothing
}

// Size implements sink.
func (d *disk) Size() (int64, error) {
	if err := unix.Fstat(int(d.Fd()), &d.stat); err != nil {
		return 0, fmt.Errorf("stat %s: %w", d.Name(), err)
	}
	return d.stat.Size, nil
}

// open opens the file for appending, and creates it.
func (f *file) open() error {
	o, err := os.OpenFile(f.path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o644)
	if err != nil {
		// A pipe or a device need not be readable: it has no header to compare.
		if info, statErr := os.Stat(f.path); statErr == nil && !info.Mode().IsRegular() {
			o, err = os.OpenFile(f.path, os.O_WRONLY, 0)
		}
	}
	if err != nil {
		return fmt.Errorf("output_path: %w", err)
	}
	info, err := o.Stat()
	if err != nil {
		return errors.Join(fmt.Errorf("output_path: %w", err), o.Close())
	}
	f.sink, f.regular = &disk{File: o}, info.Mode().IsRegular()
	return nil
}

// Close implements sink. What the program has written is on the disk afterwards, so that a full one is noticed.
func (d *disk) Close() error {
	err := d.Sync()
	if errors.Is(err, unix.EINVAL) {
		err = nil // a pipe or a device cannot be synchronised
	}
	return errors.Join(err, d.File.Close())
}

// begin compares the header with the one of the file that is there. If they differ, the old file gets a number and a new
// one is begun.
func (f *file) begin(header []byte) error {
	f.header = header
	d, ok := f.sink.(*disk)
	if !f.regular || !ok {
		return nil
	}
	old := make([]byte, len(header))
	n, err := d.ReadAt(old, 0)
	if err != nil && err != io.EOF {
		return fmt.Errorf("read %s: %w", f.path, err)
	}
	switch {
	case n == 0:
		return nil
	case bytes.Equal(old[:n], header):
		return f.completeLine(d)
	}
	name, err := f.renew()
	if err != nil {
		return err
	}
	f.log.Warn("the output file has other columns than are needed now; it was renamed and a new one is begun", "file", f.path, "renamed_to", name)
	return nil
}

// completeLine removes a line at the end of the file that was cut when an earlier agent was killed.
func (f *file) completeLine(d *disk) error {
	size, err := d.Size()
	if err != nil {
		return err
	}
	tail := make([]byte, min(size, flushSize))
	if _, err := d.ReadAt(tail, size-int64(len(tail))); err != nil && err != io.EOF {
		return fmt.Errorf("read %s: %w", f.path, err)
	}
	end := bytes.LastIndexByte(tail, '\n') + 1
	cut := len(tail) - end
	if cut == 0 || end == 0 {
		return nil
	}
	f.log.Warn("the last line of the output file was not complete and is removed", "file", f.path, "bytes", cut)
	if err := d.Truncate(size - int64(cut)); err != nil {
		return fmt.Errorf("truncate %s: %w", f.path, err)
	}
	return nil
}

// write appends lines. Either all of them are in the file afterwards or none.
func (f *file) write(lines []byte) error {
	if f.torn {
		if err := f.restore(); err != nil {
			return err
		}
	}
	if len(lines) == 0 && f.begun {
		return nil
	}
	size, err := f.sink.Size()
	if err != nil {
		return err
	}
	if f.full(size, int64(len(lines))) {
		size = f.rotate(size)
	}
	if f.regular && size == 0 || !f.regular && !f.begun {
		err = f.append(f.header)
	}
	if err == nil {
		err = f.append(lines)
	}
	if err != nil {
		f.good, f.torn = size, f.regular
		if f.torn {
			err = errors.Join(err, f.restore())
		}
		return err
	}
	f.begun = true
	return nil
}

// full tells whether a new file should be begun before so many bytes are appended.
func (f *file) full(size, more int64) bool {
	switch {
	case f.maxSize == 0 || !f.regular || size <= int64(len(f.header)):
		return false
	case size+more <= f.maxSize:
		f.retryAt = 0 // somebody else has made room
		return false
	}
	return size+more > f.retryAt
}

func (f *file) append(b []byte) error {
	if _, err := f.sink.Write(b); err != nil {
		return fmt.Errorf("write output file: %w", err)
	}
	return nil
}

// restore takes back what a failed write has left.
func (f *file) restore() error {
	if err := f.sink.Truncate(f.good); err != nil {
		return fmt.Errorf("truncate %s: %w", f.path, err)
	}
	f.torn = false
	return nil
}

// rotate begins a new file because this one is full, and returns the size of the one to go on with. Where that cannot be
// done, the old one goes on, as a file that is too large is better than lost measurements, until it has grown by another
// tenth of what it may have: what is in the way may be gone then.
func (f *file) rotate(size int64) int64 {
	if _, err := f.renew(); err != nil {
		if f.retryAt == 0 {
			f.log.Warn("the output file cannot be renamed and grows on", "file", f.path, "error", err)
		}
		f.retryAt = size + f.maxSize/10
		return size
	}
	f.retryAt = 0
	if err := f.prune(); err != nil {
		f.log.Warn("old output files cannot be removed", "error", err)
	}
	return 0
}

// renew renames the file to the next free number and opens a new one. After an error the old one is in use as before.
func (f *file) renew() (name string, err error) {
	numbers, err := f.numbers()
	if err != nil {
		return "", err
	}
	next := 1
	if len(numbers) > 0 {
		next = numbers[len(numbers)-1] + 1
	}
	name = f.numbered(next)
	if err := os.Rename(f.path, name); err != nil {
		return "", err
	}
	old := f.sink
	if err := f.open(); err != nil {
		// The old file is still open and takes the measurements under its old name.
		return "", errors.Join(err, os.Rename(name, f.path))
	}
	// The new file is in use whatever becomes of the old one: were this an error, it would get no header.
	if err := old.Close(); err != nil {
		f.log.Warn("the old output file was not closed as it should; its last lines may be lost", "file", name, "error", err)
	}
	return name, nil
}

func (f *file) numbered(n int) string { return f.path + "." + strconv.Itoa(n) }

// numbers lists the numbers of the old files in ascending order.
func (f *file) numbers() ([]int, error) {
	entries, err := os.ReadDir(filepath.Dir(f.path))
	if err != nil {
		return nil, err
	}
	var list []int
	for _, e := range entries {
		if rest, ok := strings.CutPrefix(e.Name(), filepath.Base(f.path)+"."); ok {
			if n, err := strconv.Atoi(rest); err == nil && n > 0 && strconv.Itoa(n) == rest {
				list = append(list, n)
			}
		}
	}
	slices.Sort(list)
	return list, nil
}

// prune removes the oldest of the old files.
func (f *file) prune() error {
	if f.maxFiles == 0 {
		return nil
	}
	numbers, err := f.numbers()
	if err != nil {
		return err
	}
	var errs []error
	for i := 0; i < len(numbers)-f.maxFiles; i++ {
		errs = append(errs, os.Remove(f.numbered(numbers[i])))
	}
	return errors.Join(errs...)
}

func (f *file) close() error {
	if f.sink == nil {
		return nil
	}
	err := f.sink.Close()
	f.sink = nil
	return err
}
