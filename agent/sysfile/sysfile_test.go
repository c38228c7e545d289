package sysfile

import (
	"bytes"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"golang.org/x/sys/unix"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t *testing.T, path string) *File {
	t.Helper()
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestReadSeesChanges(t *testing.T) {
	path := write(t, "12\n")
	f := open(t, path)
	buf := make([]byte, 32)
	for _, want := range []uint64{12, 7, 123456789} {
		if err := os.WriteFile(path, []byte(strconv.FormatUint(want, 10)+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := f.Uint(buf); err != nil || got != want {
			t.Errorf("Uint = %d, %v; want %d", got, err, want)
		}
	}
}

func TestOpenError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "missing")
	_, err := Open(path)
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("Open = %v; want an error about %s that is fs.ErrNotExist", err, path)
	}
	if _, err := ReadText(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadText = %v", err)
	}
	if _, err := ReadUint(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadUint = %v", err)
	}
}

func TestReadFull(t *testing.T) {
	f := open(t, write(t, "12345678"))
	if _, err := f.Read(make([]byte, 8)); !errors.Is(err, ErrFull) {
		t.Errorf("Read into a buffer of the file's size = %v; want ErrFull", err)
	}
	if b, err := f.Read(make([]byte, 9)); err != nil || string(b) != "12345678" {
		t.Errorf("Read = %q, %v", b, err)
	}
}

func TestReadGrow(t *testing.T) {
	text := strings.Repeat("x", 9000)
	f := open(t, write(t, text))
	var buf []byte
	for range 2 {
		b, err := f.ReadGrow(&buf)
		if err != nil || string(b) != text {
			t.Fatalf("ReadGrow = %d bytes, %v", len(b), err)
		}
	}
	if n := testing.AllocsPerRun(100, func() { f.ReadGrow(&buf) }); n != 0 {
		t.Errorf("ReadGrow with a buffer that fits allocates %v times", n)
	}
}

func TestReopen(t *testing.T) {
	path := write(t, "1\n")
	f := open(t, path)
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 8)
	if err := f.Reopen(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Reopen = %v", err)
	}
	if v, err := f.Uint(buf); v != 1 || err != nil {
		t.Errorf("the old file reads %d, %v", v, err)
	}
	if err := os.WriteFile(path, []byte("2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := f.Reopen(); err != nil {
		t.Error(err)
	}
	if v, err := f.Uint(buf); v != 2 || err != nil {
		t.Errorf("the new file reads %d, %v", v, err)
	}
}

func TestReadAll(t *testing.T) {
	text := strings.Repeat("0123456789\n", 2000)
	f := open(t, write(t, text))
	var buf []byte
	for range 2 {
		b, err := f.ReadAll(&buf)
		if err != nil || string(b) != text {
			t.Fatalf("ReadAll = %d bytes, %v", len(b), err)
		}
	}
	if n := testing.AllocsPerRun(100, func() { f.ReadAll(&buf) }); n != 0 {
		t.Errorf("ReadAll with a buffer that fits allocates %v times", n)
	}
}

func TestReadPath(t *testing.T) {
	path := write(t, "123\n")
	buf := make([]byte, 16)
	z := append([]byte(path), 0)
	if b, err := ReadPath(z, buf); err != nil || string(b) != "123\n" {
		t.Errorf("ReadPath = %q, %v", b, err)
	}
	if n := testing.AllocsPerRun(100, func() { ReadPath(z, buf) }); n != 0 {
		t.Errorf("ReadPath allocates %v times", n)
	}
	if _, err := ReadPath(z, buf[:4]); err != ErrFull {
		t.Errorf("ReadPath into a buffer of the file's size = %v", err)
	}
	if _, err := ReadPath([]byte(path+"x\x00"), buf); err != agent.ErrGone {
		t.Errorf("ReadPath of a missing file = %v", err)
	}
	if _, err := ReadPath([]byte(path), buf); err != ErrSyntax {
		t.Errorf("ReadPath without a NUL = %v", err)
	}
	if _, err := ReadPath(append([]byte(t.TempDir()), 0), buf); err != unix.EISDIR {
		t.Errorf("ReadPath of a folder = %v", err)
	}
}

func TestUintError(t *testing.T) {
	f := open(t, write(t, "<not supported>\n"))
	_, err := f.Uint(make([]byte, 32))
	if !errors.Is(err, ErrSyntax) || !strings.Contains(err.Error(), f.Path()) {
		t.Errorf("Uint = %v", err)
	}
}

func TestClose(t *testing.T) {
	f := open(t, write(t, "1"))
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if _, err := f.Read(make([]byte, 8)); err == nil || errors.Is(err, agent.ErrGone) {
		t.Errorf("Read of a closed file = %v", err)
	}
}

// A dead process is the one thing that an unprivileged test can see ending: its files answer ESRCH.
func TestGone(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p, err := os.StartProcess("/bin/cat", []string{"cat"}, &os.ProcAttr{Files: []*os.File{r}})
	if err != nil {
		t.Skip(err)
	}
	f := open(t, "/proc/"+strconv.Itoa(p.Pid)+"/stat")
	buf := make([]byte, 4096)
	if _, err := f.Read(buf); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if _, err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	_, err = f.Read(buf)
	if !errors.Is(err, agent.ErrGone) || !strings.Contains(err.Error(), f.Path()) {
		t.Errorf("Read = %v; want ErrGone with the path", err)
	}
	if n := testing.AllocsPerRun(100, func() { f.Read(buf) }); n != 0 {
		t.Errorf("noticing the end allocates %v times", n)
	}
}

func TestReadError(t *testing.T) {
	f := open(t, t.TempDir())
	if _, err := f.Read(make([]byte, 8)); !errors.Is(err, unix.EISDIR) {
		t.Errorf("Read of a directory = %v", err)
	}
}

func TestAllocations(t *testing.T) {
	f := open(t, write(t, "18446744073709551615\n"))
	buf := make([]byte, 32)
	if _, err := f.Read(buf); err != nil { // what is parsed below, in whatever order
		t.Fatal(err)
	}
	data := []byte("usage_usec 12\nuser_usec 34\nsystem_usec 56\n")
	var c Counter
	for name, run := range map[string]func(){
		"File.Uint": func() { f.Uint(buf) },
		"File.Read": func() { f.Read(buf) },
		"Uint":      func() { Uint(buf[:20]) },
		"KeyUint":   func() { KeyUint(data, "system_usec") },
		"CutField":  func() { CutField(data) },
		"CutLine":   func() { CutLine(data) },
		"CutUint":   func() { CutUint(data[11:]) },
		"Delta":     func() { c.Delta(5) },
	} {
		if n := testing.AllocsPerRun(100, run); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

func TestUint(t *testing.T) {
	for _, c := range []struct {
		in   string
		want uint64
		ok   bool
	}{
		{"0", 0, true}, {"7\n", 7, true}, {" 42 \n", 42, true}, {"18446744073709551615\n", math.MaxUint64, true},
		{"0000000000000000000000012", 12, true},
		{"18446744073709551616", 0, false}, {"99999999999999999999", 0, false}, {"", 0, false}, {"\n", 0, false},
		{"-1", 0, false}, {"1 2", 0, false}, {"0x10", 0, false}, {"max\n", 0, false},
	} {
		got, err := Uint([]byte(c.in))
		if got != c.want || (err == nil) != c.ok {
			t.Errorf("Uint(%q) = %d, %v", c.in, got, err)
		}
		if err != nil && !errors.Is(err, ErrSyntax) {
			t.Errorf("Uint(%q): error %v is not ErrSyntax", c.in, err)
		}
	}
}

func TestKeyUint(t *testing.T) {
	const data = "usage_usec 12\nuser_usec 34\nMemTotal:       16316412 kB\nActive(anon):\t5 kB\nHugePages_Total:       0\nbad x\nempty\nlast 9"
	for _, c := range []struct {
		key  string
		want uint64
		ok   bool
	}{
		{"usage_usec", 12, true}, {"user_usec", 34, true}, {"MemTotal", 16316412, true}, {"Active(anon)", 5, true},
		{"HugePages_Total", 0, true}, {"last", 9, true},
		{"user", 0, false}, {"bad", 0, false}, {"empty", 0, false}, {"none", 0, false},
	} {
		if got, ok := KeyUint([]byte(data), c.key); got != c.want || ok != c.ok {
			t.Errorf("KeyUint(%q) = %d, %v", c.key, got, ok)
		}
	}
}

func TestCutField(t *testing.T) {
	rest := []byte("  cpu0\t12  x")
	var got []string
	for {
		var f []byte
		if f, rest = CutField(rest); len(f) == 0 {
			break
		}
		got = append(got, string(f))
	}
	if want := []string{"cpu0", "12", "x"}; !reflect.DeepEqual(got, want) {
		t.Errorf("fields %q; want %q", got, want)
	}
}

func TestParseCPUList(t *testing.T) {
	for in, want := range map[string][]int{
		"0-3,8\n": {0, 1, 2, 3, 8}, "0": {0}, "": nil, "\n": nil, "8,0-1,1": {0, 1, 8}, "5-5": {5},
	} {
		if got, err := ParseCPUList(in); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("ParseCPUList(%q) = %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"a", "3-1", "1,,2", "-1", "0-4294967295", "0-99999999", "1-", "0-8:2/4", "99999999999999999999"} {
		if got, err := ParseCPUList(in); !errors.Is(err, ErrSyntax) {
			t.Errorf("ParseCPUList(%q) = %v, %v; want ErrSyntax", in, got, err)
		}
	}
}

func TestCounter(t *testing.T) {
	type step struct {
		v, most, d uint64
		ok         bool
	}
	for name, c := range map[string]struct {
		max   uint64
		steps []step
	}{
		"grows":     {0, []step{{5, 0, 0, false}, {7, 0, 2, true}, {7, 0, 0, true}}},
		"reset":     {0, []step{{5, 0, 0, false}, {3, 0, 0, false}, {4, 0, 1, true}}},
		"wraps":     {9, []step{{8, 0, 0, false}, {1, 0, 3, true}, {9, 0, 8, true}, {0, 0, 1, true}}},
		"too much":  {99, []step{{50, 0, 0, false}, {49, 10, 0, false}, {55, 10, 6, true}, {99, 100, 44, true}, {4, 10, 5, true}}},
		"above max": {9, []step{{12, 0, 0, false}, {1, 0, 0, false}, {3, 0, 2, true}}},
		"full":      {math.MaxUint64, []step{{math.MaxUint64, 0, 0, false}, {4, 0, 5, true}}},
	} {
		n := Counter{Max: c.max}
		for i, s := range c.steps {
			if d, ok := n.DeltaAtMost(s.v, s.most); d != s.d || ok != s.ok {
				t.Errorf("%s: step %d: DeltaAtMost(%d, %d) = %d, %v; want %d, %v", name, i, s.v, s.most, d, ok, s.d, s.ok)
			}
		}
		n.Reset()
		if _, ok := n.Delta(1); ok {
			t.Errorf("%s: a reading after Reset is not the first", name)
		}
	}
}

func TestTopology(t *testing.T) {
	root := t.TempDir()
	put := func(path, text string) {
		path = filepath.Join(root, "devices/system/cpu", path)
		os.MkdirAll(filepath.Dir(path), 0o755)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := ReadTopology(root); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without files: %v", err)
	}
	put("online", "0-3,6\n")
	check := func(want ...Socket) {
		t.Helper()
		got, err := ReadTopology(root)
		if err != nil || !reflect.DeepEqual(got.Sockets, want) {
			t.Errorf("ReadTopology = %v, %v; want %v", got, err, want)
		}
	}
	check(Socket{0, []int{0, 1, 2, 3, 6}})
	for i, id := range []string{"-1", "3", "0", "3"} {
		put("cpu"+strconv.Itoa(i)+"/topology/physical_package_id", id+"\n")
	}
	put("cpu6/topology/physical_package_id", "1\n")
	check(Socket{0, []int{0, 2}}, Socket{1, []int{6}}, Socket{3, []int{1, 3}})
	top, _ := ReadTopology(root)
	for cpu, want := range map[int]int{0: 0, 1: 3, 6: 1, 5: -1} {
		if got := top.SocketOf(cpu); got != want {
			t.Errorf("SocketOf(%d) = %d; want %d", cpu, got, want)
		}
	}
	if top.Has(2) || !top.Has(3) {
		t.Error("Has")
	}
	put("online", "0-\n")
	if _, err := ReadTopology(root); !errors.Is(err, ErrSyntax) {
		t.Errorf("broken list: %v", err)
	}
}

func FuzzUint(f *testing.F) {
	for _, s := range []string{"0", "12\n", "18446744073709551615", "18446744073709551616", "", "-1"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := Uint(b)
		want, wantErr := strconv.ParseUint(string(trim(b)), 10, 64)
		if (err == nil) != (wantErr == nil) || err == nil && got != want {
			t.Errorf("Uint(%q) = %d, %v; strconv says %d, %v", b, got, err, want, wantErr)
		}
	})
}

func FuzzKeyUint(f *testing.F) {
	f.Add([]byte("usage_usec 12\nuser_usec 34\n"), "user_usec")
	f.Add([]byte("MemTotal:       16316412 kB\n"), "MemTotal")
	f.Add([]byte("a"), "")
	f.Fuzz(func(t *testing.T, b []byte, key string) {
		v, ok := KeyUint(b, key)
		if ok && !bytes.Contains(b, []byte(key)) {
			t.Errorf("KeyUint(%q, %q) = %d", b, key, v)
		}
	})
}

func FuzzCut(f *testing.F) {
	f.Add([]byte("cpu0 1 2 3\n\n x\t"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var fields []string
		for rest := b; len(rest) > 0; {
			var line []byte
			line, rest = CutLine(rest)
			for {
				var field []byte
				if field, line = CutField(line); len(field) == 0 {
					break
				}
				fields = append(fields, string(field))
			}
		}
		want := strings.FieldsFunc(string(b), func(r rune) bool { return r == ' ' || r == '\t' || r == '\n' })
		if strings.Join(fields, "|") != strings.Join(want, "|") {
			t.Errorf("%q is cut to %q; want %q", b, fields, want)
		}
	})
}

func FuzzParseCPUList(f *testing.F) {
	f.Add("0-3,8")
	f.Add("1-0")
	f.Fuzz(func(t *testing.T, s string) {
		list, err := ParseCPUList(s)
		if err != nil {
			return
		}
		for i, n := range list {
			if n < 0 || n >= maxCPU || i > 0 && list[i-1] >= n {
				t.Errorf("ParseCPUList(%q) is not ascending: %v", s, list)
			}
		}
	})
}

func BenchmarkFileUint(b *testing.B) {
	path := filepath.Join(b.TempDir(), "f")
	if err := os.WriteFile(path, []byte("123456789\n"), 0o644); err != nil {
		b.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, 32)
	b.ReportAllocs()
	for b.Loop() {
		f.Uint(buf)
	}
}
