package report

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/jobs"
)

var update = flag.Bool("update", false, "rewrite testdata")

// golden compares with testdata/NAME, or rewrites it.
func golden(t *testing.T, name string, write func(w io.Writer) error) {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), want) {
		t.Errorf("%s is now (go test -update):\n%s", path, b.String())
	}
}

func TestGolden(t *testing.T) {
	look := func(width int) Look { return Look{Width: width, Zone: time.UTC} }
	for _, c := range []struct {
		name, step string
		in         Input
		programs   bool // for programs too
	}{{"finished", "", finished(), true}, {"finished-step", "2", finished(), false}, {"simulated", "", simulated(), true}, {"gpus", "", gpus(), false}} {
		c.in.Step = c.step
		r := makeT(t, c.in)
		golden(t, c.name+".80.txt", func(w io.Writer) error { return r.WriteTable(w, look(80)) })
		golden(t, c.name+".wide.txt", func(w io.Writer) error { return r.WriteTable(w, look(0)) })
		if c.programs {
			golden(t, c.name+".json", r.WriteJSON)
			golden(t, c.name+".csv", r.WriteCSV)
		}
	}
	r := makeT(t, finished())
	golden(t, "finished.colour.txt", func(w io.Writer) error { return r.WriteTable(w, Look{Width: 80, Colour: true, Zone: time.UTC}) })
}

// gpus is a job that holds two GPUs and has hundreds of steps.
func gpus() Input {
	in := finished()
	j := &in.Records[0]
	j.Steps, j.Figures = nil, nil
	names := []string{}
	uj := []uint64{}
	for i := range 300 {
		name := strconv.Itoa(i)
		j.Steps = append(j.Steps, jobs.StepRecord{Step: name, SeenBegin: true, Begin: int64(i) * second, End: int64(i+1) * second, WallBegin: noon + int64(i)*second, WallEnd: noon + int64(i+1)*second, FinalReading: jobs.FinalGroup})
		names, uj = append(names, name), append(uj, uint64(1_000_001*(i*7919%300+1)))
	}
	names, uj = append(names, jobs.Between), append(uj, 5)
	var sum uint64
	for _, x := range uj {
		sum += x
	}
	for _, s := range []string{"rapl:package:0", "nvml:gpu:0000:3b:00.0", "nvml:gpu:0000:af:00.0"} {
		j.Figures = append(j.Figures, figures(s, j.ExistNs, jobs.Totals{MeasuredUJ: 2 * sum, IdleUJ: sum}, names, uj...)...)
	}
	return in
}

// TestColumnsAddUp reads tables of random jobs back: in every column, what stands above a line with = adds up to it, in
// the decimals as they are printed.
func TestColumnsAddUp(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		in := randomJob(r)
		report := makeT(t, in)
		var b strings.Builder
		if err := report.WriteTable(&b, Look{Width: 40 + r.IntN(200), Zone: time.UTC}); err != nil {
			t.Fatal(err)
		}
		checkColumns(t, b.String())
		if t.Failed() {
			t.Fatal(b.String())
		}
	}
}

func randomJob(r *rand.Rand) Input {
	in := finished()
	j := &in.Records[0]
	j.Figures = nil
	steps := []string{"batch", "0", "1", "2", jobs.Between}
	for _, s := range in.Sensors[:1+r.IntN(len(in.Sensors))] {
		uj := make([]uint64, len(steps))
		m := jobs.Totals{SystemUJ: r.Uint64N(1e9), IdleUJ: r.Uint64N(1e15), VanishedUJ: r.Uint64N(3), UnobservedUJ: r.Uint64N(1e6)}
		m.MeasuredUJ = m.SystemUJ + m.IdleUJ + m.VanishedUJ + m.UnobservedUJ + r.Uint64N(1e12)
		for i := range uj {
			uj[i] = r.Uint64N(1 << (1 + r.IntN(50)))
			m.MeasuredUJ += uj[i]
		}
		j.Figures = append(j.Figures, figures(s.Sensor.Name, 1, m, steps, uj...)...)
	}
	if r.IntN(2) == 0 {
		in.Step = steps[r.IntN(len(steps))]
	}
	return in
}

// checkColumns finds the columns of the balance by their right edges, and adds them.
func checkColumns(t *testing.T, table string) {
	t.Helper()
	_, balance, _ := strings.Cut(table, "WHERE IT WENT, J")
	rows := strings.Split(strings.Split("WHERE IT WENT, J"+balance, "\n\n")[0], "\n")
	sums, checked := map[int]uint64{}, 0
	for _, row := range rows[1:] {
		for end, text := range fieldsByEnd(row) {
			if !strings.Contains(text, ".") && text != "0" || end < 17 || isColumnOf(rows[0], end, "W") {
				continue
			}
			uj := microjoules(t, text)
			if !strings.HasPrefix(row, "= ") {
				sums[end] += uj
				continue
			}
			checked++
			if sums[end] != uj {
				t.Errorf("%q: the column that ends at %d adds up to %d, not %d", row, end, sums[end], uj)
			}
		}
	}
	if checked < 2 {
		t.Errorf("only %d sums were found", checked)
	}
}

// fieldsByEnd returns the words of a line by where they end.
func fieldsByEnd(line string) map[int]string {
	fields := map[int]string{}
	for end := len(line); end > 0; {
		line = strings.TrimRight(line[:end], " ")
		begin := strings.LastIndexByte(line, ' ') + 1
		fields[len(line)] = line[begin:]
		end = begin
	}
	return fields
}

func isColumnOf(head string, end int, name string) bool {
	return end <= len(head) && strings.HasSuffix(head[:end], " "+name)
}

func microjoules(t *testing.T, text string) uint64 {
	t.Helper()
	if text == "0" {
		return 0
	}
	whole, micro, _ := strings.Cut(text, ".")
	n, err := strconv.ParseUint(whole+micro, 10, 64)
	if err != nil || len(micro) != 6 {
		t.Fatalf("%q is no energy: %v", text, err)
	}
	return n
}

func TestLinesFit(t *testing.T) {
	for width := 50; width < 200; width++ {
		for _, in := range []Input{finished(), simulated(), gpus()} {
			in.Records[0].Facts.JobName = strings.Repeat("long name ", 9)
			var b strings.Builder
			if err := makeT(t, in).WriteTable(&b, Look{Width: width, Zone: time.UTC}); err != nil {
				t.Fatal(err)
			}
			for line := range strings.SplitSeq(b.String(), "\n") {
				if len(line) > width {
					t.Fatalf("width %d: %q", width, line)
				}
			}
		}
	}
}

func TestNothingOfUsersReachesTheTerminal(t *testing.T) {
	in := simulated()
	f := &in.Records[0].Facts
	f.User, f.JobName = "eve\x1b[2J", "a\nb\x9b31m\u202e\x00"
	r := makeT(t, in)
	l := List{Jobs: []*Report{r}}
	for _, write := range []func(w io.Writer, look Look) error{r.WriteTable, l.WriteTable} {
		var b strings.Builder
		if err := write(&b, Look{Zone: time.UTC}); err != nil {
			t.Fatal(err)
		}
		if strings.ContainsAny(strings.ReplaceAll(b.String(), "\n", ""), "\x1b\u009b\x00\u202e\ufffd") || !strings.Contains(b.String(), "a?b") {
			t.Errorf("%q", b.String())
		}
	}
}

// failing is a writer that fails after some bytes.
type failing struct{ left int }

func (f *failing) Write(b []byte) (int, error) {
	if f.left -= len(b); f.left < 0 {
		return 0, io.ErrShortWrite
	}
	return len(b), nil
}

func TestWriteErrors(t *testing.T) {
	r := makeT(t, finished())
	l := List{Jobs: []*Report{r}}
	for name, write := range map[string]func(w io.Writer) error{
		"table": func(w io.Writer) error { return r.WriteTable(w, Look{}) }, "json": r.WriteJSON, "csv": r.WriteCSV,
		"list table": func(w io.Writer) error { return l.WriteTable(w, Look{}) }, "list json": l.WriteJSON, "list csv": l.WriteCSV,
	} {
		for _, n := range []int{0, 50} {
			if err := write(&failing{n}); err == nil {
				t.Errorf("%s: no error after %d bytes", name, n)
			}
		}
	}
}

func TestFormats(t *testing.T) {
	for got, want := range map[string]string{
		FormatJoules(0): "0.000000", FormatJoules(1): "0.000001", FormatJoules(1<<63 - 1): "9223372036854.775807",
		formatRoundJoules(1_499): "0.001", formatRoundJoules(1_500): "0.002",
		formatPercent(1): "100.0%", formatPercent(0.9999): ">99.9%", formatPercent(0.5): "50.0%", formatPercent(0): "0.0%",
		formatWh(3_600_000_000): "1.000", formatWh(36_000_000_000_000): "10000.0", formatWh(1): "0.000000",
		formatSpan(61 * time.Second): "1 min 01 s", formatSpan(1500 * time.Millisecond): "1.50 s", formatSpan(50 * time.Hour): "2 days 2 h",
		formatShortSpan(3723 * second): "1:02:03", formatShortSpan(90061 * second): "1-01:01:01", formatShortSpan(5e8): "0.50s",
		shorten("nvml:gpu:0000:3b:00.0", 16): "nvml:..0:3b:00.0", shorten("short", 16): "short",
		fmt.Sprint(wrap("a bb ccc dddd", 6, 2)):            "[a bb ccc dddd]",
		formatUncertainty(Amount{UJ: 100, UncertainUJ: 1}): "1.00", formatUncertainty(Amount{UncertainUJ: 1}): "-",
		formatUncertainty(Amount{UJ: 1e9, UncertainUJ: 1}): "<0.01",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if s := agent.ScopeNode.String(); s != "node" {
		t.Error(s)
	}
}
