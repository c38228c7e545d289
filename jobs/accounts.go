package jobs

// Accounts are a sensor's sums by account, for a replay's output and for tests.
type Accounts struct {
	Sensor       string
	MeasuredUJ   uint64
	UnmeasuredNs int64
	Totals       Totals
	Jobs         []JobAccount
}

// JobAccount is what a job has from one sensor, in µJ, and its steps; Steps is nil for a name that holds a device but was
// never begun as a job.
type JobAccount struct {
	Job   string
	UJ    uint64
	Steps []StepAccount
}

// StepAccount is one step's part of a [JobAccount]; [Between] is one of them.
type StepAccount struct {
	Step string
	UJ   uint64
}

// Accounts lists every sensor's accounts in order of registration; jobs are in the order of their names.
func (l *Ledger) Accounts() []Accounts {
	out := make([]Accounts, 0, len(l.sensors))
	list := l.sortJobs()
	for i, s := range l.sensors {
		a := Accounts{Sensor: s.name, MeasuredUJ: s.totals.MeasuredUJ, UnmeasuredNs: s.unmeasured, Totals: s.totals}
		for _, j := range list {
			if j.figures[i].uj == 0 {
				continue
			}
			x := JobAccount{Job: j.name, UJ: j.figures[i].uj}
			if j.known {
				for st := range j.allSteps {
					x.Steps = append(x.Steps, StepAccount{st.name, st.figures[i].uj})
				}
				x.Steps = append(x.Steps, StepAccount{Between, j.between[i].uj})
			}
			a.Jobs = append(a.Jobs, x)
		}
		out = append(out, a)
	}
	return out
}
