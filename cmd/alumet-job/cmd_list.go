package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/alumet-hpc/alumet-hpc/jobs/report"
	"github.com/alumet-hpc/alumet-hpc/jobs/store"
)

type listOptions struct {
	output
	user, since string
	live        bool
	limit       int
}

func newListCommand(s *surroundings) *cobra.Command {
	var o listOptions
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the jobs of this node with their energy",
		Long: `List shows the jobs in the books, the latest first, with the total of the node's
components (packages, memory, GPUs) for each.

MARKS: I integrated from power readings, E estimated by a model, L seen late,
P incomplete, R the sensor root is not /sys. 'alumet-job report JOB' says more.

` + dbHelp + "\n\n" + exitCodes,
		Example: `  alumet-job list --user alice --since 24h
  alumet-job list --live
  alumet-job list --since 7d --limit 0 --format csv`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return runList(s, o) },
	}
	o.addFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&o.user, "user", "", "only jobs of this user (name or number)")
	f.StringVar(&o.since, "since", "", "only jobs that lived within this time, such as 90m, 24h or 7d")
	f.BoolVar(&o.live, "live", false, "only jobs that have not ended")
	f.IntVar(&o.limit, "limit", 50, "at most so many jobs; 0: all")
	return cmd
}

func runList(s *surroundings, o listOptions) error {
	now := s.now()
	filter := store.Filter{User: o.user, Live: o.live}
	if o.since != "" {
		d, err := parseSince(o.since)
		if err != nil {
			return usage(err)
		}
		filter.Since = now.Add(-d).UnixNano()
	}
	switch {
	case o.limit < 0:
		return usage(fmt.Errorf("--limit %d: want a number of jobs, or 0 for all", o.limit))
	case o.limit > 0:
		filter.Limit = o.limit + 1 // one more tells whether there are more
	}
	if err := o.check(); err != nil {
		return err
	}
	return o.read(s, func(v *store.View) error {
		in := report.Input{Now: now.UnixNano()}
		var err error
		if in.Records, err = v.List(filter); err != nil {
			return err
		}
		if in.Sensors, err = v.Sensors(); err != nil {
			return err
		}
		if in.Known, err = v.Known(); err != nil {
			return err
		}
		l, err := report.MakeList(in)
		if err != nil {
			return err
		}
		if o.limit > 0 && len(l.Jobs) > o.limit {
			l.Jobs, l.More = l.Jobs[:o.limit], true
		}
		return o.write(s, l)
	})
}

// parseSince reads a duration, also in days.
func parseSince(text string) (time.Duration, error) {
	const day = 24 * time.Hour
	d, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n float64
		n, err = strconv.ParseFloat(days, 64)
		d = time.Duration(n * float64(day))
	}
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("--since %q: want a time before now, such as 90m, 24h or 7d", text)
	}
	return d, nil
}
