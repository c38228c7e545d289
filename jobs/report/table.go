package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/jobs"
)

const (
	// manySteps is how many steps a table lists before it puts the smallest together.
	manySteps = 24
	// proseWidth is where notes are broken when lines may be of any length.
	proseWidth = 100
	// headWidth is how long the name of a sensor may be above a column of energies.
	headWidth = 16
)

// WriteTable writes the report for people.
func (r *Report) WriteTable(w io.Writer, look Look) error {
	t := table{r: r, w: w, look: look}
	t.heading()
	if len(r.Sensors) > 0 {
		t.line()
		t.sensors()
		t.line()
		t.balance()
	}
	t.notes()
	t.books()
	return t.err
}

// table writes one report; the first error of the writer is kept.
type table struct {
	r    *Report
	w    io.Writer
	look Look
	err  error
	// hidden are the columns that did not fit.
	hidden []string
}

func (t *table) line(parts ...string) {
	if t.err == nil {
		_, t.err = io.WriteString(t.w, strings.Join(parts, "")+"\n")
	}
}

func (t *table) width() int {
	if t.look.Width > 0 {
		return t.look.Width
	}
	return proseWidth
}

// name is what was asked for, as people write it.
func (r *Report) name() string {
	if r.Step == "" {
		return r.Job.String()
	}
	return r.Job.String() + "." + r.Step
}

// alias gives the coordinates of the job in its array or heterogeneous job.
func alias(id jobs.ID, f *jobs.Facts) string {
	switch {
	case f.ArrayJob != "" && f.ArrayTask != "":
		return fmt.Sprintf("%s_%s", f.ArrayJob, f.ArrayTask)
	case f.HetJob != "" && f.HetOffset != "":
		return fmt.Sprintf("%s+%s", f.HetJob, f.HetOffset)
	}
	return ""
}

// heading says which job, whose, where and when.
func (t *table) heading() {
	r := t.r
	name := r.name()
	if a := alias(r.Job, &r.Facts); a != "" {
		name += " (" + a + ")"
	}
	var facts []string
	if r.Facts.JobName != "" {
		facts = append(facts, cut(printable(r.Facts.JobName), 32))
	}
	if u := owner(&r.Facts); u != "" {
		facts = append(facts, "of "+u)
	}
	if r.Known.Node != "" {
		facts = append(facts, "on "+r.Known.Node)
	}
	if r.Known.Cluster != "" {
		facts = append(facts, "in "+r.Known.Cluster)
	}
	for i, l := range wrap(strings.Join(facts, " "), t.width(), len(name)+gutter) {
		if i == 0 {
			l = strings.TrimRight(t.look.paint(bold, name)+"  "+l, " ")
		}
		t.line(l)
	}
	for _, l := range append(wrap(t.when(), t.width(), 0), wrap(t.effort(), t.width(), 0)...) {
		t.line(l)
	}
}

func (t *table) when() string {
	r, zone := t.r, t.look.zone()
	begin, end := formatTime(r.Begin, zone), formatTime(r.End, zone)
	if r.Step == jobs.Between {
		return "what the job used while none of its steps did"
	}
	if r.Live() {
		return "live since " + begin
	}
	// The day and the zone need not be said twice.
	bd, be, zb := strings.Fields(begin)[0], strings.Fields(end)[0], strings.Fields(begin)[2]
	if bd == be && strings.HasSuffix(end, zb) {
		begin, end = strings.TrimSuffix(begin, " "+zb), strings.TrimPrefix(end, be+" ")
	}
	return begin + " to " + end
}

func (t *table) effort() string {
	r := t.r
	if r.Step == jobs.Between {
		return "policy " + r.Policy
	}
	parts := []string{"ran " + formatSpan(time.Duration(r.ExistNs))}
	if r.Live() {
		parts[0] += " so far"
	}
	cpu := formatSpan(time.Duration(r.CPUNs)) + " of CPU time"
	switch n := len(r.Facts.CPUs); {
	case n == 1:
		cpu += " on 1 CPU"
	case n > 1:
		cpu += fmt.Sprintf(" on %d CPUs", n)
	}
	parts = append(parts, cpu)
	if r.Policy != "" {
		parts = append(parts, "policy "+r.Policy)
	}
	return strings.Join(parts, ", ")
}

func owner(f *jobs.Facts) string {
	switch {
	case f.User != "":
		return printable(f.User)
	case f.UID >= 0:
		return fmt.Sprintf("uid %d", f.UID)
	}
	return ""
}

// sensors writes a line for each sensor, and the total below the components.
func (t *table) sensors() {
	r := t.r
	share := "SHARE"
	if r.Step != "" {
		share = "OF JOB"
	}
	g := grid{columns: []column{
		{head: "SENSOR", left: true}, {head: "ENERGY J", fine: true}, {head: "Wh", drop: 4}, {head: "W", drop: 2},
		{head: share, drop: 1}, {head: "+- J", drop: 6}, {head: "+- %", drop: 3}, {head: "COVER", drop: 5}, {head: "MARKS", left: true},
	}}
	for i := range r.Sensors {
		s := &r.Sensors[i]
		if i > 0 && i == r.Total.Sensors {
			t.totalRow(&g)
		}
		g.add(plain, t.label(s), FormatJoules(s.Asked.UJ), formatWh(s.Asked.UJ), formatWatts(s.PowerW),
			formatPercent(t.shareOf(s.Asked.UJ, s.Job.UJ, s.Share())), formatRoundJoules(s.Asked.UncertainUJ),
			formatUncertainty(s.Asked), formatPercent(s.Coverage), s.Marks.String())
	}
	if r.Total.Sensors == len(r.Sensors) {
		t.totalRow(&g)
	}
	g.dropEmpty()
	t.write(&g)
}

func (t *table) totalRow(g *grid) {
	x := &t.r.Total
	g.add(bold, "= components", FormatJoules(x.Asked.UJ), formatWh(x.Asked.UJ), formatWatts(x.PowerW),
		formatPercent(t.shareOf(x.Asked.UJ, x.Job.UJ, x.Share())), formatRoundJoules(x.Asked.UncertainUJ),
		formatUncertainty(x.Asked), formatPercent(x.Coverage), x.Marks.String())
}

// shareOf is a step's part of its job, or a job's of what was measured.
func (t *table) shareOf(asked, job uint64, share float64) float64 {
	if t.r.Step != "" {
		return ratio(asked, job)
	}
	return share
}

// label names a sensor and says why it is not in the total.
func (t *table) label(s *Sensor) string {
	switch {
	case s.Sensor.Scope == agent.ScopeNode:
		return "node: " + s.Sensor.Name
	case s.Sensor.Scope == agent.ScopePart:
		return "part: " + s.Sensor.Name
	case !s.InTotal:
		return "also: " + s.Sensor.Name
	}
	return s.Sensor.Name
}

func (t *table) write(g *grid) {
	t.hidden = append(t.hidden, g.fit(t.look.Width)...)
	if t.err == nil {
		t.err = g.write(t.w, t.look)
	}
}

// notes writes what must be known beside the figures, the letter of a mark before what it means.
func (t *table) notes() {
	notes := slices.Clone(t.r.Notes)
	if len(t.r.Sensors) > 0 {
		notes = append(notes, Note{Text: "joules are exact; Wh, W and % are rounded"})
	}
	if len(t.hidden) > 0 {
		notes = append(notes, Note{Text: fmt.Sprintf("not shown at this width: %s; --format csv has all", strings.Join(t.hidden, ", "))})
	}
	if len(notes) > 0 {
		t.line()
	}
	for _, n := range notes {
		mark, style := n.Mark, yellow
		if mark == "" {
			mark, style = "-", plain
		}
		if n.Fault {
			mark, style = "!", red
		}
		for i, l := range wrap(printable(n.Text), t.width(), gutter) {
			if i > 0 {
				mark = " "
			}
			t.line(t.look.paint(style, mark), " ", l)
		}
	}
}

// books ends the report with the proof that every microjoule is somewhere, from the rows as they are at the time of asking.
func (t *table) books() {
	off := t.r.imbalance()
	if off == nil {
		return
	}
	style := plain
	if *off > 0 {
		style = red
	}
	for _, l := range wrap(fmt.Sprintf("books: measured less all accounts %d uJ", *off), t.width(), 0) {
		t.line(t.look.paint(style, l))
	}
}
