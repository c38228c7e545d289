package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/alumet-hpc/alumet-hpc/jobs"
	"github.com/alumet-hpc/alumet-hpc/jobs/report"
	"github.com/alumet-hpc/alumet-hpc/jobs/store"
)

func newReportCommand(s *surroundings) *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "report JOB[.STEP]",
		Short: "Report the energy of a job or step",
		Long: `Report tells what a job or step used: for each sensor the joules, watt-hours,
share and average power, how sure that is, and where the rest went meanwhile.
Steps and what was between them add up to the job to the microjoule; the job,
other jobs, system and idle add up to what was measured. The last line checks the
books: what was ever measured, less the accounts of all jobs and of nobody.

The total is that of the node's components (packages, memory, GPUs). Sensors
that overlap are never added: parts of a component and sensors around the whole
node stand beside the total.

JOB is a job's number, such as 10707; 10707_4 a task of an array, 10707+1 a
component of a heterogeneous job; slurm/10707, oar/123 or exec/4242 where
several schedulers have the number. STEP is a step's number, batch, extern,
interactive, or between for what no step used.

A live job is reported as of the agent's last commit.

MARKS: I integrated from power readings, E estimated by a model, L seen late,
P incomplete, R the sensor root is not /sys. Notes below the table say more.

` + dbHelp + "\n\n" + exitCodes,
		Example: `  alumet-job report 10707
  alumet-job report 10707.2
  alumet-job report 10707_4.batch --format json
  alumet-job report oar/123 --db /tmp/copy-of-jobs.db`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("want one job, such as 10707 or 10707.2, not %d", len(args))
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error { return runReport(s, args[0], o) },
	}
	o.addFlags(cmd)
	return cmd
}

func runReport(s *surroundings, arg string, o output) error {
	target, err := report.ParseTarget(arg)
	if err != nil {
		return usage(err)
	}
	if err := o.check(); err != nil {
		return err
	}
	return o.read(s, func(v *store.View) error {
		in := report.Input{Step: target.Step, Now: s.now().UnixNano()}
		if err := gather(v, target, &in, o.format != "csv"); err != nil {
			return err
		}
		if len(in.Records) == 0 {
			return unknownJob(v, arg, target, fmt.Sprintf("%s\n", reach(in.Known, o.path(s), s)))
		}
		if err := oneJob(arg, in.Records); err != nil {
			return err
		}
		r, err := report.Make(in)
		if err != nil {
			return explainStep(err)
		}
		if err := noteMembers(v, target, r); err != nil {
			return err
		}
		return o.write(s, r)
	})
}

// gather reads what a report is made from. Accounts are for what shows them: those of the
// sensors that measured the job, each a sum over all jobs.
func gather(v *store.View, target report.Target, in *report.Input, accounts bool) (err error) {
	if in.Records, err = v.Job(target.Query); err != nil {
		return err
	}
	if in.Sensors, err = v.Sensors(); err != nil {
		return err
	}
	if in.Known, err = v.Known(); err != nil {
		return err
	}
	if !accounts || len(in.Records) == 0 {
		return nil
	}
	asked := map[string]bool{}
	for i := range in.Records {
		for _, f := range in.Records[i].Figures {
			if asked[f.Sensor] {
				continue
			}
			asked[f.Sensor] = true
			a, err := v.Accounts(f.Sensor)
			if err != nil {
				return err
			}
			in.Accounts = append(in.Accounts, a)
		}
	}
	return nil
}

// oneJob refuses to choose between jobs of several schedulers.
func oneJob(arg string, records []jobs.JobRecord) error {
	var ids []string
	for i := range records {
		if id := records[i].ID.String(); i == 0 || id != ids[len(ids)-1] {
			ids = append(ids, id)
		}
	}
	if len(ids) == 1 {
		return nil
	}
	return usage(fmt.Errorf("job %s is ambiguous: there are %s\nsay which, with its scheduler in front", arg, strings.Join(ids, " and ")))
}

func unknownJob(v *store.View, arg string, target report.Target, reach string) error {
	members, err := v.Members(target.Name)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("job %s is unknown\n%s", arg, reach)
	if names := memberNames(members, ""); names != "" {
		text += fmt.Sprintf("Of %s they have: %s.", target.Name, names)
	} else {
		text += "A node's books have only the jobs that ran on it; 'alumet-job list' shows them."
	}
	return &failure{exitUnknown, errors.New(text)}
}

// memberNames lists the tasks and components of a job by their coordinates, except for one job.
func memberNames(members []jobs.JobRecord, except string) string {
	const most = 20
	var names []string
	for i := range members {
		f := &members[i].Facts
		name := f.HetJob + "+" + f.HetOffset
		if f.ArrayTask != "" {
			name = f.ArrayJob + "_" + f.ArrayTask
		}
		if members[i].ID.Name == except || len(names) > 0 && names[len(names)-1] == name {
			continue
		}
		names = append(names, name)
	}
	if n := len(names); n > most {
		names = append(names[:most], fmt.Sprintf("and %d more", n-most))
	}
	return strings.Join(names, ", ")
}

// noteMembers says that a number which is one job's is an array's or a heterogeneous job's as well.
func noteMembers(v *store.View, target report.Target, r *report.Report) error {
	if target.ArrayTask != "" || target.HetOffset != "" {
		return nil
	}
	members, err := v.Members(target.Name)
	if err != nil {
		return err
	}
	if names := memberNames(members, r.Job.Name); names != "" {
		r.Notes = append(r.Notes, report.Note{Text: "this is one job of several that go by this number; on this node also: " + names})
	}
	return nil
}

// explainStep lists the steps that there are.
func explainStep(err error) error {
	var unknown *report.UnknownStep
	if !errors.As(err, &unknown) {
		return err
	}
	have := "It has no steps."
	if len(unknown.Steps) > 0 {
		have = "Its steps are: " + strings.Join(unknown.Steps, ", ") + "."
	}
	return &failure{exitUnknown, fmt.Errorf("%w\n%s", err, have)}
}
