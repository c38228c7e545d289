package report

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/alumet-hpc/alumet-hpc/jobs"
)

// UnknownStep is the error for a step that the job does not have.
type UnknownStep struct {
	Job   jobs.ID
	Step  string
	Steps []string // those it has
}

// Error says which step is missing.
func (e *UnknownStep) Error() string { return fmt.Sprintf("job %s has no step %q", e.Job, e.Step) }

// Make makes the report of a job or step. Several records of the job are added up. The error for a step that is not
// there is an [UnknownStep].
func Make(in Input) (*Report, error) {
	if len(in.Records) == 0 {
		return nil, errors.New("report of no record")
	}
	r := &Report{Job: in.Records[0].ID, Step: in.Step, Known: in.Known, Now: in.Now, SeenBegin: true}
	for i := range in.Records {
		r.addRecord(&in.Records[i])
	}
	sortSteps(r.Steps)
	asked := -1
	if in.Step != "" {
		asked = r.step(in.Step)
		if asked < 0 {
			return nil, &UnknownStep{r.Job, in.Step, r.StepNames()}
		}
	}
	r.addFigures(in)
	r.whole = lifetime{r.End, r.ExistNs}
	if asked >= 0 && in.Step != jobs.Between {
		s := &r.Steps[asked]
		r.Begin, r.End, r.ExistNs, r.CPUNs, r.SeenBegin, r.Final, r.ended = s.Begin, s.End, s.RanNs, s.CPUNs, s.SeenBegin, s.Final, s.ended
	}
	for i := range r.Sensors {
		r.finish(&r.Sensors[i], asked)
	}
	chooseComponents(r.Sensors)
	sortSensors(r.Sensors)
	r.addUp()
	r.addNotes()
	return r, nil
}

// StepNames returns the names of the job's steps, without [jobs.Between].
func (r *Report) StepNames() []string {
	var names []string
	for _, s := range r.Steps {
		if s.Name != jobs.Between {
			names = append(names, s.Name)
		}
	}
	return names
}

func (r *Report) step(name string) int {
	return slices.IndexFunc(r.Steps, func(s Step) bool { return s.Name == name })
}

// addRecord adds one life of the job. Facts and end are those of the latest.
func (r *Report) addRecord(j *jobs.JobRecord) {
	if r.Records == 0 {
		r.Begin = j.WallBegin
	}
	r.Records++
	r.Facts, r.End = j.Facts, wallEnd(j.End-j.Begin, j.WallBegin, j.WallEnd, j.End)
	if j.End != 0 {
		r.Final, r.ended = worse(r.Final, r.ended, j.FinalReading), true
	}
	r.ExistNs += j.ExistNs
	r.CPUNs += j.CPUNs
	r.Lives += j.Lives
	r.SeenBegin = r.SeenBegin && j.SeenBegin
	if r.Policy != j.Policy && j.Policy != "" {
		r.Policy = joinPolicies(r.Policy, j.Policy)
	}
	for i := range j.Steps {
		r.addStep(&j.Steps[i])
	}
	for i := range j.Figures {
		if name := j.Figures[i].Step; name != "" && r.step(name) < 0 {
			r.Steps = append(r.Steps, Step{Name: name})
		}
	}
}

func (r *Report) addStep(s *jobs.StepRecord) {
	i := r.step(s.Step)
	if i < 0 {
		i = len(r.Steps)
		r.Steps = append(r.Steps, Step{Name: s.Step, Begin: s.WallBegin, SeenBegin: true})
	}
	t := &r.Steps[i]
	t.SeenBegin = t.SeenBegin && s.SeenBegin
	t.End = wallEnd(s.End-s.Begin, s.WallBegin, s.WallEnd, s.End)
	end := s.End
	if end == 0 {
		end = max(s.Begin, r.Known.Time)
	} else {
		t.Final, t.ended = worse(t.Final, t.ended, s.FinalReading), true
	}
	t.RanNs += end - s.Begin
	t.CPUNs += s.CPUNs
}

// worse returns the less certain of the final readings of several lives; have tells whether there is one already.
func worse(a jobs.Final, have bool, b jobs.Final) jobs.Final {
	switch {
	case !have || b == jobs.FinalNone:
		return b
	case a == jobs.FinalNone:
		return a
	}
	return max(a, b)
}

// wallEnd is when something ended, also where only the ledger's clock saw it; 0 for what lives.
func wallEnd(ranNs, wallBegin, wallEnd, end int64) int64 {
	switch {
	case end == 0:
		return 0
	case wallEnd == 0:
		return wallBegin + ranNs
	}
	return wallEnd
}

// sortSteps orders steps by their begin, as they came to be, with what was between them at the end.
func sortSteps(steps []Step) {
	slices.SortStableFunc(steps, func(a, b Step) int {
		if (a.Name == jobs.Between) != (b.Name == jobs.Between) {
			if a.Name == jobs.Between {
				return 1
			}
			return -1
		}
		return cmp.Or(cmp.Compare(a.Begin, b.Begin), cmp.Compare(a.Name, b.Name))
	})
}

// addFigures gathers the figures of all records by sensor.
func (r *Report) addFigures(in Input) {
	index := map[string]int{}
	for i := range in.Records {
		for k := range in.Records[i].Figures {
			f := &in.Records[i].Figures[k]
			at, ok := index[f.Sensor]
			if !ok {
				at = len(r.Sensors)
				index[f.Sensor] = at
				r.Sensors = append(r.Sensors, Sensor{SensorRecord: findSensor(in.Sensors, f.Sensor), Steps: make([]Amount, len(r.Steps))})
			}
			s, amount := &r.Sensors[at], Amount{f.UJ, f.LateUJ, f.UncertainUJ}
			if f.Step != "" {
				s.Steps[r.step(f.Step)] = s.Steps[r.step(f.Step)].add(amount)
				continue
			}
			s.Job = s.Job.add(amount)
			s.CoveredNs += f.CoveredNs
			s.Meanwhile = addTotals(s.Meanwhile, f.Meanwhile)
		}
	}
	for i := range in.Accounts {
		if at, ok := index[in.Accounts[i].Sensor]; ok {
			r.Sensors[at].Accounts = &in.Accounts[i]
		}
	}
}

// finish computes what follows from a sensor's own figures. asked is the index of the step asked for, or negative.
func (r *Report) finish(s *Sensor, asked int) {
	s.Asked = s.Job
	if asked >= 0 {
		s.Asked = s.Steps[asked]
		s.PowerW = watts(s.Asked.UJ, r.Steps[asked].RanNs)
	} else {
		s.PowerW = watts(s.Asked.UJ, s.CoveredNs)
	}
	if r.whole.existNs > 0 {
		s.Coverage = min(1, float64(s.CoveredNs)/float64(r.whole.existNs))
	}
	s.OtherJobsUJ = otherJobs(s.Meanwhile, s.Job.UJ)
	s.Marks = r.sensorMarks(s)
}
