package trace

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/alumet-hpc/alumet-hpc/jobs"
)

// events has one of each type, with every key.
func events() []jobs.Event {
	return []jobs.Event{
		{Type: jobs.EventMachine, Machine: []jobs.Socket{{ID: 0, CPUs: []int{0, 1}}, {ID: 1, CPUs: []int{2, 3}}}, Socket: -1},
		{Type: jobs.EventSensor, T: 1, Sensor: "rapl:package:0", Socket: 0, UJ: 5, Limits: jobs.Limits{RangeUJ: 262143328850, MaxUW: 500_500_000}},
		{Type: jobs.EventSensor, T: 1, Sensor: `a "quoted" name`, Socket: -1, IsPower: true, UW: 212_500_001, Limits: jobs.Limits{MaxGapNs: 1e10}},
		{Type: jobs.EventHolders, T: 1, Sensor: "nvml:gpu:0", Jobs: []string{"slurm/10707"}, Socket: -1},
		{Type: jobs.EventBusy, T: 1, Socket: 1, CPUNs: 700, HasCPUNs: true},
		{Type: jobs.EventParent, T: 1, CPUNs: 650, HasCPUNs: true, Socket: -1},
		{Type: jobs.EventFloor, T: 1, Sensor: "rapl:package:0", UW: 31_500_000, Socket: -1},
		{Type: jobs.EventBegin, T: 2, Job: "slurm/10707", CPUs: []int{0, 1}, HasCPUs: true, Socket: -1},
		{Type: jobs.EventBegin, T: 2, Job: "slurm/10707", Step: "2", Socket: -1},
		{Type: jobs.EventFound, T: 2, Job: "slurm/9000", CPUs: []int{2}, HasCPUs: true, CPUNs: 123, HasCPUNs: true, Socket: -1},
		{Type: jobs.EventUsage, T: 3, Job: "slurm/10707", Step: "2", CPUNs: 1<<63 + 1, HasCPUNs: true, Socket: -1},
		{Type: jobs.EventCPUs, T: 4, Job: "slurm/10707", CPUs: []int{0}, HasCPUs: true, Socket: -1},
		{Type: jobs.EventEnd, T: 5, Job: "slurm/10707", Step: "2", CPUNs: 1<<63 + 9, HasCPUNs: true, By: "parent", Socket: -1},
		{Type: jobs.EventRestart, T: 6, Socket: -1},
		{Type: jobs.EventReboot, T: 7, Socket: -1},
	}
}

func TestLinesReadBack(t *testing.T) {
	for _, e := range events() {
		line := appendEvent(nil, &e)
		var got jobs.Event
		if err := Parse(line, &got); err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		if !reflect.DeepEqual(got, e) {
			t.Errorf("%s\n got %+v\nwant %+v", line, got, e)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	refuse := func(line, want string) {
		t.Helper()
		var e jobs.Event
		if err := Parse([]byte(line), &e); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", line, err, want)
		}
	}
	refuse(`{"type":"sensr","t":1}`, `"sensr" is unknown`)
	refuse(`{"type":"parent","cpu_ns":1}`, "without t")
	refuse(`{"type":"parent","t":1}`, "without cpu_ns")
	refuse(`{"type":"busy","t":1,"cpu_ns":1}`, "without socket")
	refuse(`{"type":"sensor","t":1,"sensor":"x"}`, "either uj or watts")
	refuse(`{"type":"sensor","t":1,"sensor":"x","uj":1,"watts":1}`, "either uj or watts")
	refuse(`{"type":"sensor","t":1,"sensor":"x","watts":-1}`, "negative")
	refuse(`{"type":"sensor","t":1,"sensor":"x","watts":1.0000001}`, "six decimals")
	refuse(`{"type":"sensor","t":1,"sensor":"x","watts":1e999999999}`, "exponent")
	refuse(`{"type":"sensor","t":1,"sensor":"x","watts":1e-999999999}`, "exponent")
	refuse(`{"type":"sensor","t":1,"sensor":"x","uj":-1}`, "uj")
	refuse(`{"type":"sensor","t":1,"sensor":"x","socket":-3,"uj":1}`, "negative")
	refuse(`{"type":"machine"}`, "no cpus")
	refuse(`{"type":`, "unexpected end")
}

func TestReplayNamesTheLine(t *testing.T) {
	machine := `{"type":"machine","cpus":[{"socket":0,"cpus":[0]}]}` + "\n"
	for text, want := range map[string]string{
		"\n" + machine + "{}\n":                "line 3",
		machine + `{"type":"parent","t":5,"cp`: "ends in the middle of a line",
		`{"type":"parent","t":5,"cpu_ns":1}`:   "line 1: parent before the machine",
		machine + `{"type":"parent","t":5,"cpu_ns":1}` + "\n" + `{"type":"parent","t":4,"cpu_ns":2}`: "line 3: parent at 4 is older",
	} {
		if err := Replay(strings.NewReader(text), jobs.NewLedger(jobs.PolicyUsage)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", text, err, want)
		}
	}
}

func TestUnknownKeysAreIgnored(t *testing.T) {
	var e jobs.Event
	if err := Parse([]byte(`{"type":"parent","t":1,"cpu_ns":7,"note":{"by":[1]}}`), &e); err != nil || e.CPUNs != 7 {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestAppendGoesOnWhereTheBooksWere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace")
	write := func(offset int64, e ...jobs.Event) int64 {
		f, err := OpenAppend(path, offset)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		w := NewWriter(f, offset)
		for i := range e {
			w.Write(&e[i])
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		return w.Offset()
	}
	known := write(0, events()[:3]...)
	write(known, events()[3:6]...) // the run is killed before it commits what it told
	end := write(known, events()[13])
	var want bytes.Buffer
	for _, i := range []int{0, 1, 2, 13} {
		want.Write(appendEvent(nil, &events()[i]))
	}
	if got, _ := os.ReadFile(path); !bytes.Equal(got, want.Bytes()) || int64(len(got)) != end {
		t.Errorf("got\n%s\nwant\n%s", got, want.Bytes())
	}
	if _, err := OpenAppend(path, 0); err == nil || !strings.Contains(err.Error(), "other books") {
		t.Errorf("a new trace in a used file: %v", err)
	}
	if _, err := OpenAppend(path, end+1); err == nil || !strings.Contains(err.Error(), "not their trace") {
		t.Errorf("a file that is too short: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, e := range events() {
		f.Add(appendEvent(nil, &e))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var e, again jobs.Event
		if Parse(line, &e) != nil {
			return
		}
		text := appendEvent(nil, &e)
		if err := Parse(text, &again); err != nil {
			t.Fatalf("%s gives %s, which does not parse: %v", line, text, err)
		}
	})
}

// FuzzReplay feeds whole traces to the ledger: whatever they say, nothing panics and the accounts add up.
func FuzzReplay(f *testing.F) {
	var all []byte
	for _, e := range events() {
		all = appendEvent(all, &e)
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, p := range []jobs.Policy{jobs.PolicyHybrid, jobs.PolicyUsage, jobs.PolicyCapacity, jobs.PolicyAllocated} {
			l := jobs.NewLedger(p)
			_ = Replay(bytes.NewReader(text), l)
			if d := l.Imbalance(); d != 0 {
				t.Fatalf("imbalance %d", d)
			}
		}
	})
}
