package csv

import (
	"bytes"
	"context"
	stdcsv "encoding/csv"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/agent/agenttest"
	"golang.org/x/sys/unix"
)

const plainHeader = "metric;timestamp;value;resource_kind;resource_id;consumer_kind;consumer_id;__late_attributes\n"

// bench is an output with the metrics of a test.
type bench struct {
	*output
	t    *testing.T
	path string
	log  *agenttest.Log
	reg  *agent.Registry
}

// start opens an output on a file with metrics that have the given attributes.
func start(t *testing.T, path string, change func(*Config), attributes ...string) *bench {
	t.Helper()
	c := defaults()
	c.OutputPath = path
	if change != nil {
		change(&c)
	}
	b := &bench{t: t, path: path, log: &agenttest.Log{}, reg: agent.NewRegistry()}
	_, err := b.reg.Add(agent.Metric{Name: "power", Type: agent.TypeF64, Unit: agent.Unit{Base: agent.Watt}, Attributes: attributes})
	if err != nil {
		t.Fatal(err)
	}
	b.output = newOutput(c, b.reg, b.log.Logger())
	if err := b.out.open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.close() })
	return b
}

func (b *bench) point(v float64, attrs ...agent.Attr) agent.Point {
	m, _ := b.reg.ByName("power")
	p := agent.Point{Metric: m, Value: agent.F64(v), Resource: agent.LocalMachine(), Consumer: agent.NoConsumer()}
	if len(attrs) > 0 {
		p.Attrs = agent.NewAttrs(attrs...)
	}
	return p
}

func (b *bench) write(points ...agent.Point) {
	b.t.Helper()
	if err := b.Write(context.Background(), &agent.Batch{Points: points}); err != nil {
		b.t.Fatal(err)
	}
}

func text(key, value string) agent.Attr { return agent.Attr{Key: key, Value: agent.AttrText(value)} }

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func check(t *testing.T, path, want string) {
	t.Helper()
	if got := read(t, path); got != want {
		t.Errorf("%s:\n%s", filepath.Base(path), agenttest.Diff(want, got))
	}
}

func TestFormat(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.csv")
	// An attribute that is named like a fixed column gets no column and replaces nothing.
	b := start(t, path, nil, "kind", "domain", "value", "__late_attributes")
	plain, err := b.reg.Add(agent.Metric{Name: "procs", Attributes: []string{"kind", "abc;d"}})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2025, 4, 25, 15, 8, 53, 996365220, time.UTC).UnixNano()
	b.write(
		agent.Point{Metric: plain, Time: at, Value: agent.U64(math.MaxUint64), Resource: agent.CPUPackage(1), Consumer: agent.Process(12)},
		agent.Point{Metric: plain, Time: at - 996365220, Value: agent.U64(0), Resource: agent.GPU("0000:3b:00.0"), Consumer: agent.Cgroup(`/a;b"c`),
			Attrs: agent.NewAttrs(text("kind", "user"), text("abc;d", "x\ny"))},
		b.point(0.75, text("gpu", "H200"), text("kind", ""), text("cpu", "EPYC,AMD")),
		b.point(math.NaN(), text("value", "9"), agent.Attr{Key: "jobs", Value: agent.AttrUints([]uint64{1, 2})}),
		b.point(math.Inf(-1), agent.Attr{Key: "domain", Value: agent.AttrUints([]uint64{1, 2})}, agent.Attr{Key: "on", Value: agent.AttrBoolean(true)}, text("q", `a"b`)),
		b.point(1e21),
	)
	check(t, path, `metric;timestamp;value;resource_kind;resource_id;consumer_kind;consumer_id;"abc;d";domain;kind;__late_attributes
procs;2025-04-25T15:08:53.99636522Z;18446744073709551615;cpu_package;1;process;12;;;;
procs;2025-04-25T15:08:53Z;0;gpu;0000:3b:00.0;cgroup;"/a;b""c";"x
y";;user;
power_W;1970-01-01T00:00:00Z;0.75;local_machine;;local_machine;;;;;gpu=H200,cpu=EPYC\,AMD
power_W;1970-01-01T00:00:00Z;NaN;local_machine;;local_machine;;;;;value=9,jobs=[1\, 2]
power_W;1970-01-01T00:00:00Z;-inf;local_machine;;local_machine;;;[1, 2];;"on=true,q=a""b"
power_W;1970-01-01T00:00:00Z;1000000000000000000000;local_machine;;local_machine;;;;;
`)
}

func TestUnits(t *testing.T) {
	for _, c := range []struct {
		unit          agent.Unit
		add, display  bool
		want, wantOne string
	}{
		{agent.Unit{Base: agent.Byte}, true, true, "m_B", "m"},
		{agent.Unit{Base: agent.Byte}, true, false, "m_By", "m_1"},
		{agent.Unit{Base: agent.Byte}, false, true, "m", "m"},
		{agent.Unit{Prefix: agent.Micro, Base: agent.Second}, true, true, "m_μs", "m"},
		{agent.Unit{Prefix: agent.Nano, Base: agent.Second}, true, false, "m_nanos", "m_1"},
		{agent.Unit{Base: agent.Custom, Unique: "g_CO2", Display: "g;CO2"}, true, true, `"m_g;CO2"`, "m"},
	} {
		cfg := defaults()
		cfg.AppendUnit, cfg.DisplayName = c.add, c.display
		o := newOutput(cfg, agent.NewRegistry(), nil)
		if got := string(o.name(&agent.Metric{Name: "m", Unit: c.unit})); got != c.want {
			t.Errorf("%s: %s; want %s", c.unit, got, c.want)
		}
		if got := string(o.name(&agent.Metric{Name: "m"})); got != c.wantOne {
			t.Errorf("no unit: %s; want %s", got, c.wantOne)
		}
	}
}

func TestOtherDelimiters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.csv")
	b := start(t, path, func(c *Config) { c.Delimiter, c.LateDelimiter = "¦", "|" })
	b.write(b.point(1, text("a", "x|y¦"), text("b", "1,2")))
	if got, want := strings.Split(read(t, path), "\n")[1], `power_W¦1970-01-01T00:00:00Z¦1¦local_machine¦¦local_machine¦¦"a=x\|y¦|b=1,2"`; got != want {
		t.Errorf("%s; want %s", got, want)
	}
}

func TestHeaderAtFirstWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.csv")
	b := start(t, path, nil)
	check(t, path, "")
	b.write()
	check(t, path, plainHeader)
	if _, err := b.reg.Add(agent.Metric{Name: "late", Attributes: []string{"kind"}}); err != nil {
		t.Fatal(err)
	}
	b.write(b.point(1, text("kind", "x")))
	check(t, path, plainHeader+"power_W;1970-01-01T00:00:00Z;1;local_machine;;local_machine;;kind=x\n")
}

func line(v string) string {
	return "power_W;1970-01-01T00:00:00Z;" + v + ";local_machine;;local_machine;;\n"
}

func TestAppend(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.csv")
	for _, v := range []float64{1, 2} {
		b := start(t, path, nil)
		b.write(b.point(v))
		if err := b.close(); err != nil {
			t.Error(err)
		}
	}
	check(t, path, plainHeader+line("1")+line("2"))
}

func TestCutLineIsRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.csv")
	if err := os.WriteFile(path, []byte(plainHeader+line("1")+"power_W;1970-"), 0o644); err != nil {
		t.Fatal(err)
	}
	b := start(t, path, nil)
	b.write(b.point(2))
	check(t, path, plainHeader+line("1")+line("2"))
	if !strings.Contains(b.log.String(), "bytes=13") {
		t.Errorf("log: %s", b.log)
	}
}

func TestOtherHeader(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out.csv")
	for name, content := range map[string]string{"out.csv": "something else\n", "out.csv.2": "older\n", "out.csv.x": "no number\n", "out.csv.07": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b := start(t, path, nil)
	b.write(b.point(1))
	check(t, path, plainHeader+line("1"))
	check(t, path+".2", "older\n")
	check(t, path+".3", "something else\n")
	if n := strings.Count(b.log.String(), "out.csv.3"); n != 1 {
		t.Errorf("the log tells the new name %d times: %s", n, b.log)
	}
	// A shorter file that begins like the header is another one, too.
	if err := os.WriteFile(path, []byte("metric;timestamp"), 0o644); err != nil {
		t.Fatal(err)
	}
	b = start(t, path, nil)
	b.write()
	check(t, path, plainHeader)
	check(t, path+".4", "metric;timestamp")
}

func TestTruncatedByOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.csv")
	b := start(t, path, nil)
	b.write(b.point(1))
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	b.write(b.point(2))
	check(t, path, plainHeader+line("2"))
}

func TestRotation(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out.csv")
	b := start(t, path, func(c *Config) { c.MaxSize, c.MaxFiles = 220, 2 })
	for i := range 9 {
		b.write(b.point(float64(i)))
	}
	check(t, path, plainHeader+line("8"))
	check(t, path+".3", plainHeader+line("4")+line("5"))
	check(t, path+".4", plainHeader+line("6")+line("7"))
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 3 {
		t.Errorf("%v, %v", entries, err)
	}
	// One batch that is larger than the limit is written whole.
	b.write(b.point(1), b.point(2), b.point(3), b.point(4))
	check(t, path, plainHeader+line("1")+line("2")+line("3")+line("4"))
}

func TestRotationImpossible(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	b := start(t, filepath.Join(dir, "out.csv"), func(c *Config) { c.MaxSize = 1 })
	b.write(b.point(1))
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	b.write(b.point(2))
	b.write(b.point(3))
	if n := strings.Count(b.log.String(), "grows on"); n != 1 {
		t.Errorf("said %d times: %s", n, b.log)
	}
}

func TestCollect(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.csv")
	b := start(t, path, func(c *Config) { c.ForceFlush = false })
	b.write(b.point(1))
	check(t, path, "")
	for range flushSize / len(line("2")) {
		b.write(b.point(2))
	}
	if got := len(read(t, path)); got < flushSize {
		t.Errorf("%d bytes are in the file", got)
	}
	b.write(b.point(3))
	if err := b.close(); err != nil {
		t.Error(err)
	}
	if got := read(t, path); !strings.HasPrefix(got, plainHeader+line("1")) || !strings.HasSuffix(got, line("3")) || len(got) != len(plainHeader)+(flushSize/len(line("2"))+2)*len(line("1")) {
		t.Errorf("%d bytes, end %q", len(got), got[len(got)-80:])
	}
}

// full is a disk with room for some bytes more.
type full struct {
	sink
	room        int
	noTruncate  bool
	truncations int
}

func (f *full) Write(b []byte) (int, error) {
	n := min(len(b), f.room)
	f.room -= n
	if _, err := f.sink.Write(b[:n]); err != nil {
		return 0, err
	}
	if n < len(b) {
		return n, unix.ENOSPC
	}
	return n, nil
}

func (f *full) Truncate(size int64) error {
	f.truncations++
	if f.noTruncate {
		return unix.EIO
	}
	return f.sink.Truncate(size)
}

// A batch that does not fit is taken back and can be written again, whichever byte the disk was full at.
func TestDiskFull(t *testing.T) {
	whole := plainHeader + line("1") + line("2") + line("3")
	for _, flush := range []bool{true, false} {
		for room := range len(whole) {
			path := filepath.Join(t.TempDir(), "out.csv")
			b := start(t, path, func(c *Config) { c.ForceFlush = flush })
			b.columns = nil
			disk := &full{sink: b.out.sink, room: room, noTruncate: room%3 == 0}
			b.out.sink = disk
			for i := 1; i <= 3; i++ {
				batch := &agent.Batch{Points: []agent.Point{b.point(float64(i))}}
				err := b.Write(context.Background(), batch)
				if err == nil {
					continue
				}
				if !errors.Is(err, unix.ENOSPC) || !flush {
					t.Fatalf("Write = %v", err)
				}
				if got := read(t, path); !disk.noTruncate && (!strings.HasPrefix(whole, got) || got != "" && !strings.HasSuffix(got, "\n")) {
					t.Fatalf("room for %d: the file ends in %q", room, got[len(got)-20:])
				}
				if disk.noTruncate {
					if err := b.Write(context.Background(), batch); !errors.Is(err, unix.EIO) {
						t.Fatalf("Write to a torn file = %v", err)
					}
				}
				disk.noTruncate = false
				disk.room = 1 << 20
				i--
			}
			if !flush {
				disk.room, disk.noTruncate = 1<<20, false
			}
			if err := b.close(); err != nil {
				t.Fatal(err)
			}
			check(t, path, whole)
		}
	}
}

// When collected lines cannot be written, those that were accepted wait and the batch is refused.
func TestDiskFullWhileCollecting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.csv")
	b := start(t, path, func(c *Config) { c.ForceFlush = false })
	disk := &full{sink: b.out.sink}
	b.out.sink = disk
	want := plainHeader
	for disk.truncations < 3 {
		err := b.Write(context.Background(), &agent.Batch{Points: []agent.Point{b.point(1)}})
		if err == nil {
			want += line("1")
		} else if !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
		disk.room = disk.truncations * 1000
	}
	disk.room = 1 << 20
	b.write(b.point(2))
	check(t, path, want+line("2"))
}

func TestBeginFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.csv")
	b := start(t, path, nil)
	b.out.sink.(*disk).File.Close()
	for range 2 {
		if err := b.Write(context.Background(), &agent.Batch{}); !errors.Is(err, os.ErrClosed) {
			t.Errorf("Write = %v", err)
		}
	}
	b.out.sink = nil
}

func TestPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Skip(err)
	}
	b := start(t, path, func(c *Config) { c.MaxSize = 1 })
	r, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b.write(b.point(1))
	b.write(b.point(2))
	if err := b.close(); err != nil {
		t.Error(err)
	}
	var got bytes.Buffer
	got.ReadFrom(r)
	if want := plainHeader + line("1") + line("2"); got.String() != want {
		t.Errorf("pipe:\n%s", agenttest.Diff(want, got.String()))
	}
}

func TestPlugin(t *testing.T) {
	dir := t.TempDir()
	c := defaults()
	c.OutputPath = filepath.Join(dir, "missing", "out.csv")
	if _, err := agenttest.TryOpen(t, Plugin(), &c, dir); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), c.OutputPath) {
		t.Errorf("open = %v", err)
	}
	c.OutputPath = filepath.Join(dir, "out.csv")
	p := agenttest.Open(t, Plugin(), &c, dir)
	if err := p.Outputs["out"].Write(context.Background(), &agent.Batch{}); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := p.Outputs["out"].Write(ctx, &agent.Batch{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Write = %v", err)
	}
	check(t, c.OutputPath, plainHeader)
}

func TestReadme(t *testing.T) { agenttest.CheckReadme(t, Plugin()) }

func TestConfiguration(t *testing.T) {
	c := agenttest.Configure(t, Plugin(), `
[plugins.csv]
# Absolute or relative path to the output_file
output_path = "x.csv"
force_flush = false
append_unit_to_metric_name = true
use_unit_display_name = false
csv_delimiter = ","
max_size = "100MB"
`).(*Config)
	if c.OutputPath != "x.csv" || c.Delimiter != "," || c.LateDelimiter != "," || c.MaxSize != 100e6 || c.ForceFlush || c.DisplayName {
		t.Errorf("%+v", c)
	}
}

func TestValidate(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"output_path":        func(c *Config) { c.OutputPath = "" },
		"max_files":          func(c *Config) { c.MaxFiles = -1 },
		"csv_delimiter":      func(c *Config) { c.Delimiter = "" },
		"csv_delimiter must": func(c *Config) { c.Delimiter = `"` },
		"csv_late_delimiter": func(c *Config) { c.LateDelimiter = "=" },
	} {
		c := defaults()
		if err := c.Validate(); err != nil {
			t.Error(err)
		}
		change(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("Validate = %v; want an error about %s", err, want)
		}
		if _, err := agenttest.TryOpen(t, Plugin(), &c, t.TempDir()); err == nil {
			t.Errorf("opened with a wrong %s", want)
		}
	}
}

func TestAllocations(t *testing.T) {
	b := start(t, filepath.Join(t.TempDir(), "out.csv"), nil, "kind")
	batch := &agent.Batch{Points: []agent.Point{
		b.point(1.25), b.point(2, text("kind", "x;y")), b.point(3, text("late", "a,b"), agent.Attr{Key: "jobs", Value: agent.AttrUints([]uint64{1, 2})}),
	}}
	ctx := context.Background()
	agenttest.CheckAllocs(t, "Write", func() {
		for i := range batch.Points {
			batch.Points[i].Time++
		}
		if err := b.Write(ctx, batch); err != nil {
			t.Fatal(err)
		}
	})
}

// Whatever is in an attribute, a CSV reader gets it back.
func FuzzCells(f *testing.F) {
	f.Add("a", "b")
	f.Add(`x;"y"`, "1\n2")
	f.Add("", ",\\=")
	f.Fuzz(func(t *testing.T, id, value string) {
		if strings.ContainsRune(id+value, '\r') {
			t.Skip("the reader changes line ends")
		}
		reg := agent.NewRegistry()
		m, err := reg.Add(agent.Metric{Name: "m", Attributes: []string{"k"}})
		if err != nil {
			t.Fatal(err)
		}
		o := newOutput(defaults(), reg, nil)
		o.buf = o.makeHeader()
		o.line(&agent.Point{Metric: m, Resource: agent.GPU(id), Attrs: agent.NewAttrs(text("k", value), text("late", "v"))})
		r := stdcsv.NewReader(bytes.NewReader(o.buf))
		r.Comma = ';'
		rows, err := r.ReadAll()
		if err != nil || len(rows) != 2 {
			t.Fatalf("%q: %v", o.buf, err)
		}
		if got := rows[1]; got[4] != id || got[7] != value || got[8] != "late=v" {
			t.Errorf("%q is read as %q", o.buf, got)
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	c := defaults()
	c.OutputPath = filepath.Join(b.TempDir(), "out.csv")
	reg := agent.NewRegistry()
	m, err := reg.Add(agent.Metric{Name: "cpu_time_delta", Attributes: []string{"job_id", "job_step", "kind"}})
	if err != nil {
		b.Fatal(err)
	}
	o := newOutput(c, reg, nil)
	if err := o.out.open(); err != nil {
		b.Fatal(err)
	}
	var batch agent.Batch
	for i := range 1000 {
		batch.Add(m, int64(i/100), agent.U64(uint64(i)), agent.LocalMachine(), agent.Cgroup(fmt.Sprintf("/slurm/uid_1000/job_%d", i)),
			agent.NewAttrs(text("kind", "total"), text("job_id", "12"), text("user", "x")))
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := o.Write(context.Background(), &batch); err != nil {
			b.Fatal(err)
		}
		o.out.sink.Truncate(0)
	}
}
