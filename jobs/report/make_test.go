package report

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/jobs"
	"github.com/alumet-hpc/alumet-hpc/jobs/store"
)

func makeT(t *testing.T, in Input) *Report {
	t.Helper()
	r, err := Make(in)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestMakeAddsUp(t *testing.T) {
	for _, step := range []string{"", "0", "2", jobs.Between} {
		in := finished()
		in.Step = step
		r := makeT(t, in)
		var total uint64
		for i := range r.Sensors {
			s := &r.Sensors[i]
			var parts uint64
			for _, a := range s.Steps {
				parts += a.UJ
			}
			m := s.Meanwhile
			if parts != s.Job.UJ || s.Job.UJ+s.OtherJobsUJ+m.SystemUJ+m.IdleUJ+m.VanishedUJ+m.UnobservedUJ != m.MeasuredUJ {
				t.Errorf("%s: steps %d, job %d, measured %+v, other jobs %d", s.Sensor.Name, parts, s.Job.UJ, m, s.OtherJobsUJ)
			}
			if s.InTotal {
				total += s.Asked.UJ
			}
		}
		if total != r.Total.Asked.UJ || r.Total.Sensors != 4 {
			t.Errorf("step %q: total %d of %d sensors, want %d of 4", step, r.Total.Asked.UJ, r.Total.Sensors, total)
		}
		if step == "" && r.Total.Asked != r.Total.Job {
			t.Errorf("asked for the job: %+v, not %+v", r.Total.Asked, r.Total.Job)
		}
	}
}

func TestMakeStep(t *testing.T) {
	in := finished()
	in.Step = "1"
	r := makeT(t, in)
	if r.Begin != noon+503*second || r.End != noon+1003*second || r.ExistNs != 500*second {
		t.Errorf("step from %d to %d, ran %d", r.Begin, r.End, r.ExistNs)
	}
	if got, want := r.Sensors[0].PowerW, 25200.001201/500; got < want-1e-6 || got > want+1e-6 {
		t.Errorf("power %v, want %v", got, want)
	}
	in.Step = "9"
	_, err := Make(in)
	var unknown *UnknownStep
	if !errors.As(err, &unknown) || !slices.Equal(unknown.Steps, []string{"0", "1", "2", "batch"}) && !slices.Equal(unknown.Steps, []string{"batch", "0", "1", "2"}) {
		t.Errorf("error %v with %+v", err, unknown)
	}
	if _, err := Make(Input{}); err == nil {
		t.Error("a report of nothing was made")
	}
}

// sensor makes a component sensor for TestTotal.
func sensor(name string, resource agent.Resource, domain string, change ...func(*agent.Sensor)) agent.Sensor {
	s := agent.Sensor{Name: name, Resource: resource, Domain: domain}
	for _, c := range change {
		c(&s)
	}
	return s
}

func TestTotal(t *testing.T) {
	estimated := func(s *agent.Sensor) { s.Estimated = true }
	integrated := func(s *agent.Sensor) { s.Integrated = true }
	scope := func(x agent.Scope) func(*agent.Sensor) { return func(s *agent.Sensor) { s.Scope = x } }
	part := func(x string) func(*agent.Sensor) { return func(s *agent.Sensor) { s.Part = x } }
	pkg, dram, gpu, machine := agent.CPUPackage(0), agent.DRAM(0), agent.GPU("x"), agent.LocalMachine()
	for name, c := range map[string]struct {
		sensors []agent.Sensor
		want    string // those in the total
	}{
		"components add": {[]agent.Sensor{sensor("pkg", pkg, "package"), sensor("dram", dram, "dram"), sensor("gpu", gpu, "")}, "dram gpu pkg"},
		"parts and the node do not": {[]agent.Sensor{sensor("pkg", pkg, "package"), sensor("pp0", pkg, "pp0", scope(agent.ScopePart)),
			sensor("watt", machine, "", scope(agent.ScopeNode))}, "pkg"},
		"measured beats estimated":            {[]agent.Sensor{sensor("a-model", pkg, "tdp", estimated), sensor("pkg", pkg, "package")}, "pkg"},
		"estimated alone counts":              {[]agent.Sensor{sensor("model", pkg, "tdp", estimated), sensor("gpu", gpu, "")}, "gpu model"},
		"a model of the machine gives way":    {[]agent.Sensor{sensor("model", machine, "tdp", estimated), sensor("pkg", pkg, "package")}, "pkg"},
		"but not for a GPU":                   {[]agent.Sensor{sensor("model", machine, "tdp", estimated), sensor("gpu", gpu, "")}, "gpu model"},
		"a counter beats power":               {[]agent.Sensor{sensor("a", gpu, "", integrated), sensor("b", gpu, "")}, "b"},
		"the same twice is once":              {[]agent.Sensor{sensor("perf", pkg, "package"), sensor("powercap", pkg, "package")}, "perf"},
		"two domains of one resource are two": {[]agent.Sensor{sensor("a", pkg, "rail a"), sensor("b", pkg, "rail b")}, "a b"},
		"two packages are two":                {[]agent.Sensor{sensor("a", pkg, "package"), sensor("b", agent.CPUPackage(1), "package")}, "a b"},
		"two dies of a package are two": {[]agent.Sensor{sensor("a", pkg, "package", part("die:0")), sensor("b", pkg, "package", part("die:1")),
			sensor("c", dram, "dram", part("die:0")), sensor("d", dram, "dram", part("die:1"))}, "a b c d"},
		"a die twice is once":                   {[]agent.Sensor{sensor("a", pkg, "package", part("die:0")), sensor("b", pkg, "package", part("die:0"))}, "a"},
		"a package is all of its dies":          {[]agent.Sensor{sensor("a", pkg, "package"), sensor("b", pkg, "package", part("die:0")), sensor("c", pkg, "package", part("die:1"))}, "a"},
		"a model gives way to measured dies":    {[]agent.Sensor{sensor("model", pkg, "package", estimated), sensor("x", pkg, "package", part("die:0")), sensor("y", pkg, "package", part("die:1"))}, "x y"},
		"only sensors around the node: nothing": {[]agent.Sensor{sensor("watt", machine, "", scope(agent.ScopeNode))}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			in := Input{Records: []jobs.JobRecord{{ID: jobs.ID{Scheduler: "slurm", Name: "1"}}}}
			for i, s := range c.sensors {
				in.Sensors = append(in.Sensors, jobs.SensorRecord{Sensor: s})
				in.Records[0].Figures = append(in.Records[0].Figures, jobs.Figure{Sensor: s.Name, UJ: 1 << i})
			}
			r := makeT(t, in)
			var got []string
			var sum uint64
			for _, s := range r.Sensors {
				if s.InTotal {
					got = append(got, s.Sensor.Name)
					sum += s.Job.UJ
				}
				if s.InTotal == (s.LeftOut != "") && s.Sensor.Scope == agent.ScopeComponent {
					t.Errorf("%s: in total %v, left out %q", s.Sensor.Name, s.InTotal, s.LeftOut)
				}
			}
			slices.Sort(got)
			if strings.Join(got, " ") != c.want || sum != r.Total.Job.UJ {
				t.Errorf("total of %v is %d", got, r.Total.Job.UJ)
			}
		})
	}
}

// All dies are lines of the table, their sum is the total, and no note says that one measures the same as another.
func TestDiesAreShown(t *testing.T) {
	in := simulated()
	in.Sensors = nil
	j := &in.Records[0]
	j.Steps, j.Figures = nil, nil
	for i := range 2 {
		die := fmt.Sprintf("die:%d", i)
		in.Sensors = append(in.Sensors, jobs.SensorRecord{Sensor: sensor("rapl:package:0:"+die, agent.CPUPackage(0), "package", func(s *agent.Sensor) { s.Part = die })})
		j.Figures = append(j.Figures, jobs.Figure{Sensor: "rapl:package:0:" + die, UJ: 1_500_000, CoveredNs: j.ExistNs, Meanwhile: jobs.Totals{MeasuredUJ: 2_000_000, IdleUJ: 500_000}})
	}
	r := makeT(t, in)
	var table, doc strings.Builder
	if err := errors.Join(r.WriteTable(&table, Look{}), r.WriteJSON(&doc)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"rapl:package:0:die:0  1.500000", "rapl:package:0:die:1  1.500000", "= components          3.000000"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("%q is not in\n%s", want, table.String())
		}
	}
	if strings.Contains(table.String(), "measures the same") || !strings.Contains(doc.String(), `"part": "die:1"`) {
		t.Errorf("%s%s", table.String(), doc.String())
	}
}

func TestRecordsAreAdded(t *testing.T) {
	in := finished()
	second := in.Records[0]
	second.Begin, second.WallBegin = 9000, noon+9000
	second.Lives, second.FinalReading, second.Policy = 2, jobs.FinalLastRead, "usage/1"
	third := second
	third.End, third.WallEnd, third.FinalReading, third.Policy = 0, 0, jobs.FinalNone, "hybrid/1, usage/1"
	one := makeT(t, in)
	in.Records = append(in.Records, second, third)
	all := makeT(t, in)
	if all.Total.Job.UJ != 3*one.Total.Job.UJ || all.ExistNs != 3*one.ExistNs || all.Sensors[0].CoveredNs != 3*one.Sensors[0].CoveredNs ||
		all.Total.Meanwhile.MeasuredUJ != 3*one.Total.Meanwhile.MeasuredUJ || len(all.Steps) != len(one.Steps) {
		t.Errorf("three records: %+v\none: %+v", all.Total, one.Total)
	}
	if all.Lives != 5 || all.Records != 3 || !all.Live() || all.Policy != "hybrid/1, usage/1" || all.Final != jobs.FinalLastRead {
		t.Errorf("lives %d, records %d, live %v, policy %s, final %v", all.Lives, all.Records, all.Live(), all.Policy, all.Final)
	}
	if all.Marks&Incomplete == 0 {
		t.Errorf("marks %v", all.Marks.Words())
	}
}

func TestMarks(t *testing.T) {
	for name, c := range map[string]struct {
		change func(j *jobs.JobRecord)
		want   string
		note   string
	}{
		"nothing":               {func(j *jobs.JobRecord) {}, "", ""},
		"found running":         {func(j *jobs.JobRecord) { j.SeenBegin = false }, "L", "seen late: the job was found running"},
		"agent down":            {func(j *jobs.JobRecord) { j.Figures[5].LateUJ = 1_500_000 }, "L", "up to 1.500000 J"},
		"no last reading":       {func(j *jobs.JobRecord) { j.FinalReading = jobs.FinalNone }, "P", "it ended unseen"},
		"periodic reading":      {func(j *jobs.JobRecord) { j.FinalReading = jobs.FinalLastRead }, "P", "its last reading was a periodic one"},
		"gap":                   {func(j *jobs.JobRecord) { j.Figures[5].CoveredNs = j.ExistNs / 2 }, "P", "covers 50.0% of the job's time"},
		"gap of a live job":     {func(j *jobs.JobRecord) { j.End, j.Figures[5].CoveredNs = 0, j.ExistNs/2 }, "P", "covers 50.0%"},
		"live, not yet settled": {func(j *jobs.JobRecord) { j.End, j.ExistNs, j.Figures[5].CoveredNs = 0, 3*second, second }, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			in := finished()
			c.change(&in.Records[0])
			r := makeT(t, in)
			if got := r.Sensors[0].Marks.String(); got != c.want {
				t.Errorf("marks of %s: %q, want %q", r.Sensors[0].Sensor.Name, got, c.want)
			}
			if text := noteTexts(r); !strings.Contains(text, c.note) {
				t.Errorf("notes %s\nwant %q", text, c.note)
			}
		})
	}
}

// TestBooksAreShown: the table ends with what the accounts differ from what was measured, where they were asked for.
func TestBooksAreShown(t *testing.T) {
	last := func(accounts ...store.Accounts) string {
		in := finished()
		in.Accounts = accounts
		var b strings.Builder
		if err := makeT(t, in).WriteTable(&b, Look{}); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(b.String()), "\n")
		return lines[len(lines)-1]
	}
	balanced := store.Accounts{Sensor: "wattmeter", MeasuredUJ: 5, Accounts: []store.Account{{Name: "slurm/1", UJ: 2}, {Name: jobs.Idle, UJ: 3}}}
	if got := last(balanced); got != "books: measured less all accounts 0 uJ" {
		t.Error(got)
	}
	// Faults of two sensors do not cancel each other, and a sensor that is not shown says nothing.
	got := last(store.Accounts{Sensor: "wattmeter", MeasuredUJ: 5}, store.Accounts{Sensor: "rapl:dram:0", Accounts: []store.Account{{Name: "x", UJ: 7}}},
		store.Accounts{Sensor: "elsewhere", MeasuredUJ: 100})
	if got != "books: measured less all accounts 12 uJ" {
		t.Error(got)
	}
	if got := last(); strings.Contains(got, "books") {
		t.Error(got)
	}
}

func noteTexts(r *Report) string {
	var b strings.Builder
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "%s %s %v\n", n.Mark, n.Text, n.Fault)
	}
	return b.String()
}

func TestFaultsAreSaid(t *testing.T) {
	for want, spoil := range map[string]func(in *Input){
		"rapl:package:0: the steps add up to": func(in *Input) { in.Records[0].Figures[0].UJ++ },
		"rapl:package:0: 1 uJ more went to accounts than": func(in *Input) {
			in.Records[0].Figures[5].Meanwhile.MeasuredUJ = 100e9
			in.Records[0].Figures[5].Meanwhile.SystemUJ = 100e9 + 1
			in.Records[0].Figures[5].Meanwhile.IdleUJ = 0
			zero(in)
		},
		"wattmeter: the accounts of the node differ from wh": func(in *Input) { in.Accounts = []store.Accounts{{Sensor: "wattmeter", MeasuredUJ: 5}} },
	} {
		in := finished()
		spoil(&in)
		if text := noteTexts(makeT(t, in)); !strings.Contains(text, want) || !strings.Contains(text, "true") {
			t.Errorf("notes %swant %q", text, want)
		}
	}
}

// zero takes the job's own energy by the first sensor away.
func zero(in *Input) {
	for i := range 6 {
		in.Records[0].Figures[i].UJ = 0
	}
}

func TestList(t *testing.T) {
	a, b, c := finished(), finished(), finished()
	b.Records[0].ID.Name, c.Records[0].Begin = "2", 5
	in := a
	in.Records = []jobs.JobRecord{a.Records[0], b.Records[0], c.Records[0]}
	l, err := MakeList(in)
	if err != nil || len(l.Jobs) != 2 || l.Jobs[0].Records != 2 || l.Jobs[1].Job.Name != "2" {
		t.Errorf("list %+v, %v", l, err)
	}
	if l.Jobs[0].Total.Job.UJ != 2*l.Jobs[1].Total.Job.UJ {
		t.Errorf("totals %d and %d", l.Jobs[0].Total.Job.UJ, l.Jobs[1].Total.Job.UJ)
	}
}
