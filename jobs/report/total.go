package report

import (
	"cmp"
	"slices"
	"strings"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/jobs"
)

// chooseComponents says which sensors make the total: of the component sensors of one resource, domain and part the best. What
// measures beats what estimates, whatever the domain, and a counter beats the sum of power readings. A model of all the
// machine's processors gives way as soon as one is measured.
func chooseComponents(sensors []Sensor) {
	var chosen []*Sensor
	for _, s := range byQuality(sensors) {
		rival := slices.IndexFunc(chosen, func(c *Sensor) bool { return overlap(&c.Sensor, &s.Sensor) })
		if rival >= 0 {
			s.LeftOut = chosen[rival].Sensor.Name + " measures the same"
			continue
		}
		s.InTotal = true
		chosen = append(chosen, s)
	}
}

// sortSensors puts the parts of the total first, processors before memory before the rest, and after them what is not
// added, by scope.
func sortSensors(sensors []Sensor) {
	kind := func(s *Sensor) int {
		return slices.Index([]string{agent.KindGPU, agent.KindDRAM, agent.KindCPUPackage}, s.Sensor.Resource.Kind)
	}
	slices.SortStableFunc(sensors, func(a, b Sensor) int {
		if a.InTotal != b.InTotal {
			if a.InTotal {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.Sensor.Scope, b.Sensor.Scope), kind(&b)-kind(&a), cmp.Compare(a.Sensor.Name, b.Sensor.Name))
	})
}

// byQuality returns the component sensors, the best first, and among equals by name.
func byQuality(sensors []Sensor) []*Sensor {
	var list []*Sensor
	for i := range sensors {
		if sensors[i].Sensor.Scope == agent.ScopeComponent {
			list = append(list, &sensors[i])
		}
	}
	quality := func(s *agent.Sensor) int {
		switch {
		case s.Estimated:
			return 2
		case s.Integrated:
			return 1
		}
		return 0
	}
	slices.SortStableFunc(list, func(a, b *Sensor) int {
		return cmp.Or(quality(&a.Sensor)-quality(&b.Sensor), cmp.Compare(a.Sensor.Name, b.Sensor.Name))
	})
	return list
}

// overlap tells whether two component sensors, the first the better one, would count something twice.
func overlap(better, s *agent.Sensor) bool {
	if s.Estimated && !better.Estimated && s.Resource.Kind == agent.KindLocalMachine && better.Resource.Kind == agent.KindCPUPackage {
		return true
	}
	if better.Resource != s.Resource {
		return false
	}
	if s.Estimated && !better.Estimated {
		return true
	}
	// Two named parts have nothing in common; a sensor without a part covers them all.
	parts := better.Part != s.Part && better.Part != "" && s.Part != ""
	return better.Domain == s.Domain && !parts
}

// addUp makes the total from the chosen sensors.
func (r *Report) addUp() {
	t := &r.Total
	t.Steps = make([]Amount, len(r.Steps))
	t.Coverage = 1
	for i := range r.Sensors {
		s := &r.Sensors[i]
		if !s.InTotal {
			continue
		}
		t.Sensors++
		t.Asked, t.Job = t.Asked.add(s.Asked), t.Job.add(s.Job)
		for k := range s.Steps {
			t.Steps[k] = t.Steps[k].add(s.Steps[k])
		}
		t.Meanwhile = addTotals(t.Meanwhile, s.Meanwhile)
		t.OtherJobsUJ += s.OtherJobsUJ
		t.PowerW += s.PowerW
		t.Coverage = min(t.Coverage, s.Coverage)
		t.Marks |= s.Marks
	}
	if t.Sensors == 0 {
		t.Coverage = 0
	}
	r.Marks = t.Marks | r.jobMarks()
}

func addTotals(a, b jobs.Totals) jobs.Totals {
	return jobs.Totals{
		MeasuredUJ: a.MeasuredUJ + b.MeasuredUJ, SystemUJ: a.SystemUJ + b.SystemUJ, IdleUJ: a.IdleUJ + b.IdleUJ,
		VanishedUJ: a.VanishedUJ + b.VanishedUJ, UnobservedUJ: a.UnobservedUJ + b.UnobservedUJ,
	}
}

// otherJobs is what remains of the measured energy; 0 also where more was given out than measured, which a note tells.
func otherJobs(t jobs.Totals, jobUJ uint64) uint64 {
	given := t.SystemUJ + t.IdleUJ + t.VanishedUJ + t.UnobservedUJ + jobUJ
	if given > t.MeasuredUJ {
		return 0
	}
	return t.MeasuredUJ - given
}

func findSensor(list []jobs.SensorRecord, name string) jobs.SensorRecord {
	for i := range list {
		if list[i].Sensor.Name == name {
			return list[i]
		}
	}
	// The store keeps a sensor for every figure, so this is a caller's mistake; a part is never added to a total.
	return jobs.SensorRecord{Sensor: agent.Sensor{Name: name, Scope: agent.ScopePart}}
}

// joinPolicies adds the policies of b to those of a that are not there yet.
func joinPolicies(a, b string) string {
	if a == "" {
		return b
	}
	have := strings.Split(a, ", ")
	for p := range strings.SplitSeq(b, ", ") {
		if !slices.Contains(have, p) {
			have = append(have, p)
		}
	}
	return strings.Join(have, ", ")
}
