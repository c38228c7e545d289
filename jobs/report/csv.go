package report

import (
	"encoding/csv"
	"io"
	"strconv"
	"strings"

	"github.com/alumet-hpc/alumet-hpc/jobs"
)

// csvHeader are the columns of the CSV report; SCHEMA.md says what is in them.
const csvHeader = "node,job,step,sensor,scope,in_total,uj,joules,wh,share,power_w,late_uj,uncertain_uj,coverage,marks,policy,begin,end,as_of"

// WriteCSV writes one row for each sensor of the job as a whole, and one for each step and for what was between steps; of
// a step, where one was asked for, only its own.
func (r *Report) WriteCSV(w io.Writer) error {
	c := csv.NewWriter(w)
	// Errors are kept by the writer until the end.
	_ = c.Write(strings.Split(csvHeader, ","))
	for i := range r.Sensors {
		s := &r.Sensors[i]
		if r.Step == "" {
			_ = c.Write(r.csvRow(s, "", s.Job, s.PowerW, r.Begin, r.End))
		}
		for k := range r.Steps {
			p := &r.Steps[k]
			if r.Step != "" && p.Name != r.Step {
				continue
			}
			_ = c.Write(r.csvRow(s, p.Name, s.Steps[k], watts(s.Steps[k].UJ, p.RanNs), p.Begin, p.End))
		}
	}
	c.Flush()
	return c.Error()
}

func (r *Report) csvRow(s *Sensor, step string, a Amount, power float64, begin, end int64) []string {
	watts := ""
	if power > 0 {
		watts = float(power)
	}
	if step == jobs.Between {
		begin, end = 0, 0
	}
	return []string{
		r.Known.Node, r.Job.String(), step, s.Sensor.Name, s.Sensor.Scope.String(), strconv.FormatBool(s.InTotal),
		strconv.FormatUint(a.UJ, 10), FormatJoules(a.UJ), float(wattHours(a.UJ)), float(ratio(a.UJ, s.Meanwhile.MeasuredUJ)),
		watts, strconv.FormatUint(a.LateUJ, 10), strconv.FormatUint(a.UncertainUJ, 10), float(s.Coverage),
		strings.Join(s.Marks.Words(), ";"), r.Policy, timestamp(begin), timestamp(end), timestamp(r.Known.Wall),
	}
}

// float writes a number without exponent, with as many digits as tell it from its neighbours.
func float(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
