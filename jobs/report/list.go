package report

import (
	"encoding/csv"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alumet-hpc/alumet-hpc/jobs"
	"github.com/alumet-hpc/alumet-hpc/jobs/store"
)

// List is a list of jobs with their totals, the latest first. Records of one job are one entry.
type List struct {
	Known store.Known
	Now   int64
	Jobs  []*Report // whole jobs, without steps
	// More tells that there are older jobs that were not asked for.
	More bool
}

// MakeList makes a list from records, the latest first, as the store's List returns them.
func MakeList(in Input) (*List, error) {
	l := &List{Known: in.Known, Now: in.Now}
	byID := map[jobs.ID][]jobs.JobRecord{}
	var order []jobs.ID
	for _, r := range in.Records {
		if byID[r.ID] == nil {
			order = append(order, r.ID)
		}
		byID[r.ID] = append(byID[r.ID], r)
	}
	for _, id := range order {
		one := in
		one.Records = byID[id]
		slices.Reverse(one.Records)
		r, err := Make(one)
		if err != nil {
			return nil, err
		}
		l.Jobs = append(l.Jobs, r)
	}
	return l, nil
}

// WriteTable writes the list for people.
func (l *List) WriteTable(w io.Writer, look Look) error {
	if len(l.Jobs) == 0 {
		_, err := io.WriteString(w, "no such jobs in the books\n")
		return err
	}
	g := grid{columns: []column{
		{head: "JOB", left: true}, {head: "USER", left: true, drop: 3}, {head: "NAME", left: true, drop: 6},
		{head: "BEGIN", left: true, drop: 4}, {head: "RAN", drop: 2}, {head: "ENERGY J"}, {head: "Wh", drop: 8},
		{head: "W", drop: 5}, {head: "+- %", drop: 7}, {head: "MARKS", left: true, drop: 1},
	}}
	for _, r := range l.Jobs {
		name := r.Job.String()
		if a := alias(r.Job, &r.Facts); a != "" {
			name += " (" + a + ")"
		}
		energy, wh, power, uncertain := formatRoundJoules(r.Total.Asked.UJ), formatWh(r.Total.Asked.UJ), formatWatts(r.Total.PowerW), formatUncertainty(r.Total.Asked)
		if r.Total.Sensors == 0 {
			energy, wh, power, uncertain = "-", "-", "-", "-"
		}
		ran, style := formatShortSpan(r.ExistNs), plain
		if r.Live() {
			ran, style = "live "+ran, bold
		}
		g.add(style, name, owner(&r.Facts), cut(printable(r.Facts.JobName), 24), formatMinute(r.Begin, l.Now, look.zone()), ran,
			energy, wh, power, uncertain, r.Marks.String())
	}
	g.dropEmpty()
	g.fit(look.Width)
	if err := g.write(w, look); err != nil || !l.More {
		return err
	}
	_, err := io.WriteString(w, "\n- there are older jobs: --limit 0 shows all\n")
	return err
}

// formatMinute writes a time to the minute, or the day of another year.
func formatMinute(unixNs, now int64, zone *time.Location) string {
	t := time.Unix(0, unixNs).In(zone)
	if t.Year() != time.Unix(0, now).In(zone).Year() {
		return t.Format("2006-01-02")
	}
	return t.Format("01-02 15:04")
}

type jsonList struct {
	Schema  string        `json:"schema"`
	Node    string        `json:"node"`
	Cluster string        `json:"cluster,omitempty"`
	AsOf    string        `json:"as_of"`
	More    bool          `json:"more"`
	Jobs    []jsonListJob `json:"jobs"`
}

type jsonListJob struct {
	Job  string `json:"job"`
	Live bool   `json:"live"`
	jsonFacts
	jsonLife
	Policy string     `json:"policy"`
	Marks  []string   `json:"marks"`
	Total  *jsonTotal `json:"total"`
}

// WriteJSON writes the list as SCHEMA.md describes it.
func (l *List) WriteJSON(w io.Writer) error {
	d := jsonList{
		Schema: ListSchema, Node: l.Known.Node, Cluster: l.Known.Cluster, AsOf: timestamp(l.Known.Wall), More: l.More,
		Jobs: []jsonListJob{},
	}
	for _, r := range l.Jobs {
		x := r.document()
		d.Jobs = append(d.Jobs, jsonListJob{x.Job, x.Live, x.jsonFacts, x.jsonLife, x.Policy, x.Marks, x.Total})
	}
	return encode(w, d)
}

// WriteCSV writes one row for each job.
func (l *List) WriteCSV(w io.Writer) error {
	c := csv.NewWriter(w)
	// Errors are kept by the writer until the end.
	_ = c.Write(strings.Split("node,job,user,uid,job_name,begin,end,exist_ns,cpu_ns,uj,joules,wh,power_w,uncertain_uj,coverage,marks,policy,as_of", ","))
	for _, r := range l.Jobs {
		t, uid, power := &r.Total, "", ""
		if r.Facts.UID >= 0 {
			uid = strconv.FormatInt(r.Facts.UID, 10)
		}
		if t.PowerW > 0 {
			power = float(t.PowerW)
		}
		_ = c.Write([]string{
			l.Known.Node, r.Job.String(), r.Facts.User, uid, r.Facts.JobName, timestamp(r.Begin), timestamp(r.End),
			strconv.FormatInt(r.ExistNs, 10), strconv.FormatUint(r.CPUNs, 10), strconv.FormatUint(t.Asked.UJ, 10), FormatJoules(t.Asked.UJ),
			float(wattHours(t.Asked.UJ)), power, strconv.FormatUint(t.Asked.UncertainUJ, 10), float(t.Coverage),
			strings.Join(r.Marks.Words(), ";"), r.Policy, timestamp(l.Known.Wall),
		})
	}
	c.Flush()
	return c.Error()
}
