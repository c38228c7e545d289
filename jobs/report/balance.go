package report

import (
	"fmt"
	"slices"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/jobs"
)

// balanceColumn is a column of energies: a sensor's, or the total of the components.
type balanceColumn struct {
	steps     []Amount
	job       Amount
	meanwhile jobs.Totals
	otherJobs uint64
}

// balance writes where everything went that was measured while the job existed: in every column, what is above a line
// that begins with = adds up to it.
func (t *table) balance() {
	r := t.r
	g := grid{columns: []column{
		{head: "WHERE IT WENT, J", left: true}, {head: "RAN", drop: dropRan}, {head: "W", drop: dropPower},
	}}
	var columns []balanceColumn
	if x := &r.Total; x.Sensors > 1 {
		g.columns = append(g.columns, column{head: "= components", fine: true})
		columns = append(columns, balanceColumn{x.Steps, x.Job, x.Meanwhile, x.OtherJobsUJ})
	}
	for i := range r.Sensors {
		s := &r.Sensors[i]
		c := column{head: shorten(s.Sensor.Name, headWidth), fine: true, drop: r.dropSensor(i)}
		if len(columns) == 0 {
			c.drop = 0
		}
		g.columns = append(g.columns, c)
		columns = append(columns, balanceColumn{s.Steps, s.Job, s.Meanwhile, s.OtherJobsUJ})
	}
	add := func(style, label, ran, power string, energy func(c *balanceColumn) uint64) {
		cells := []string{label, ran, power}
		for i := range columns {
			cells = append(cells, formatCell(energy(&columns[i])))
		}
		g.add(style, cells...)
	}
	for _, l := range r.stepLines() {
		ran, power := r.stepEffort(l.steps)
		add(plain, l.label, ran, power, func(c *balanceColumn) uint64 { return sumSteps(c.steps, l.steps) })
	}
	add(bold, "= job "+r.Job.Name, formatShortSpan(r.whole.existNs), r.jobPower(), func(c *balanceColumn) uint64 { return c.job.UJ })
	add(plain, "other jobs", "", "", func(c *balanceColumn) uint64 { return c.otherJobs })
	add(plain, jobs.System, "", "", func(c *balanceColumn) uint64 { return c.meanwhile.SystemUJ })
	add(plain, jobs.Idle, "", "", func(c *balanceColumn) uint64 { return c.meanwhile.IdleUJ })
	add(plain, jobs.Vanished, "", "", func(c *balanceColumn) uint64 { return c.meanwhile.VanishedUJ })
	add(plain, jobs.Unobserved, "", "", func(c *balanceColumn) uint64 { return c.meanwhile.UnobservedUJ })
	add(bold, "= measured", "", "", func(c *balanceColumn) uint64 { return c.meanwhile.MeasuredUJ })
	t.write(&g)
}

// In which order columns of the balance give way, the largest first: details of sensors, then times and powers of steps,
// then all but the first sensors.
const (
	dropFirst = 1
	dropPower = 10
	dropRan   = 11
	dropRest  = 20
	dropParts = 200
	keepFirst = 2 // component sensors that are worth more than the steps' powers
)

func (r *Report) dropSensor(i int) int {
	s := &r.Sensors[i]
	switch {
	case s.Sensor.Scope == agent.ScopeNode:
		return dropFirst
	case !s.InTotal:
		return dropParts + i
	case i < keepFirst:
		return dropFirst + 1 + i
	}
	return dropRest + i
}

func formatCell(uj uint64) string {
	if uj == 0 {
		return "0"
	}
	return FormatJoules(uj)
}

func sumSteps(steps []Amount, which []int) (uj uint64) {
	for _, i := range which {
		uj += steps[i].UJ
	}
	return uj
}

// mainSteps are the steps' energies in the total, or by the first sensor where there is none.
func (r *Report) mainSteps() []Amount {
	if r.Total.Sensors > 0 {
		return r.Total.Steps
	}
	return r.Sensors[0].Steps
}

// stepEffort says how long one step ran and at which power; nothing for several and for what was between steps.
func (r *Report) stepEffort(which []int) (ran, power string) {
	if len(which) != 1 || r.Steps[which[0]].Name == jobs.Between {
		return "", ""
	}
	i := which[0]
	ns := r.Steps[i].RanNs
	return formatShortSpan(ns), formatWatts(watts(r.mainSteps()[i].UJ, ns))
}

// jobPower is the power of the whole job, left out where a step was asked for: the lines above have it then.
func (r *Report) jobPower() string {
	if r.Step != "" {
		return ""
	}
	if r.Total.Sensors > 0 {
		return formatWatts(r.Total.PowerW)
	}
	return formatWatts(r.Sensors[0].PowerW)
}

// stepLine is a line of the balance: one step, or several together.
type stepLine struct {
	label string
	steps []int
}

// stepLines lists the steps: all of them, or where one was asked for, that and the rest; of very many the largest. What
// was between steps comes last.
func (r *Report) stepLines() []stepLine {
	var lines, between []stepLine
	var rest []int
	largest := r.largestSteps()
	for i, s := range r.Steps {
		switch {
		case s.Name == jobs.Between:
			between = []stepLine{{"between steps", []int{i}}}
		case r.Step == s.Name, r.Step == "" && slices.Contains(largest, i):
			lines = append(lines, stepLine{"step " + s.Name, []int{i}})
		default:
			rest = append(rest, i)
		}
	}
	switch {
	case len(rest) == 1:
		lines = append(lines, stepLine{"1 other step", rest})
	case len(rest) > 1:
		lines = append(lines, stepLine{fmt.Sprintf("%d other steps", len(rest)), rest})
	}
	return append(lines, between...)
}

// largestSteps returns the steps that are listed by themselves.
func (r *Report) largestSteps() []int {
	all := make([]int, len(r.Steps))
	for i := range all {
		all[i] = i
	}
	if len(all) <= manySteps {
		return all
	}
	energy := r.mainSteps()
	slices.SortStableFunc(all, func(a, b int) int {
		switch {
		case energy[a].UJ > energy[b].UJ:
			return -1
		case energy[a].UJ < energy[b].UJ:
			return 1
		}
		return 0
	})
	return all[:manySteps]
}
