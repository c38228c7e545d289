package csv

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"golang.org/x/sys/unix"
)

// What was in the way of a rotation may be gone later: it is tried again when the file has grown, and said once.
func TestRotationIsTriedAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.csv")
	aside := path + "-aside"
	const maxSize = 2000 // a tenth of it is four lines
	b := start(t, path, func(c *Config) { c.MaxSize = maxSize })
	want := plainHeader
	add := func() {
		t.Helper()
		b.write(b.point(7))
		want += line("7")
	}
	add()
	if err := os.Rename(path, aside); err != nil { // what is not there cannot be renamed
		t.Fatal(err)
	}
	for b.out.retryAt == 0 {
		add()
	}
	check(t, aside, want)
	if err := os.Rename(aside, path); err != nil {
		t.Fatal(err)
	}
	for int64(len(want)+len(line("7"))) <= b.out.retryAt {
		add()
	}
	check(t, path, want)
	if len(want) < maxSize+maxSize/20 || len(want) > maxSize+maxSize/5 {
		t.Errorf("tried again at %d bytes", len(want))
	}
	b.write(b.point(8))
	check(t, path+".1", want)
	check(t, path, plainHeader+line("8"))
	if n := strings.Count(b.log.String(), "grows on"); n != 1 {
		t.Errorf("said %d times: %s", n, b.log)
	}
}

// badClose is a file whose last bytes do not reach the disk.
type badClose struct{ sink }

func (b badClose) Close() error { return errors.Join(unix.EIO, b.sink.Close()) }

// When the old file cannot be closed as it should, the new one is in use all the same, with a header of its own.
func TestOldFileDoesNotClose(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.csv")
	b := start(t, path, func(c *Config) { c.MaxSize = 170 })
	b.write(b.point(1))
	b.out.sink = badClose{b.out.sink}
	b.write(b.point(2))
	check(t, path, plainHeader+line("2"))
	check(t, path+".1", plainHeader+line("1"))
	if !strings.Contains(b.log.String(), "was not closed") || strings.Contains(b.log.String(), "grows on") {
		t.Errorf("log: %s", b.log)
	}
	// A write that fails now is taken back to the size of the new file.
	b.out.maxSize = 0
	b.out.sink = &full{sink: b.out.sink, room: 9}
	if err := b.Write(context.Background(), &agent.Batch{Points: []agent.Point{b.point(3)}}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("Write = %v", err)
	}
	check(t, path, plainHeader+line("2"))
}
