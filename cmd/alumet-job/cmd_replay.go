package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/alumet-hpc/alumet-hpc/jobs"
	"github.com/alumet-hpc/alumet-hpc/jobs/trace"
)

type replayOptions struct {
	policy string
	floors []string
	format string
}

func newReplayCommand() *cobra.Command {
	var o replayOptions
	cmd := &cobra.Command{
		Use:   "replay FILE",
		Short: "Run the ledger over a recorded trace and print the accounts",
		Long: `Replay runs the same ledger code as the agent over a trace that was written by
"alumet-agent --record FILE", and prints every sensor's accounts in microjoules:
for audits, and to see what another policy would have said. FILE may be "-".`,
		Example: `  alumet-job replay node1.trace
  alumet-job replay node1.trace --policy usage --format json
  alumet-job replay node1.trace --floor rapl:package:0=31.5`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runReplay(cmd.OutOrStdout(), cmd.ErrOrStderr(), cmd.InOrStdin(), args[0], o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.policy, "policy", jobs.PolicyHybrid.Name(), "policy: hybrid, usage, capacity or allocated")
	f.StringArrayVar(&o.floors, "floor", nil, "idle floor of a sensor in watts, as SENSOR=WATTS (repeatable)")
	f.StringVar(&o.format, "format", "table", "output format: table or json")
	return cmd
}

func runReplay(out, errOut io.Writer, in io.Reader, path string, o replayOptions) error {
	var policy jobs.Policy
	if err := policy.UnmarshalText([]byte(o.policy)); err != nil {
		return usage(fmt.Errorf("--policy: %w", err))
	}
	if o.format != "table" && o.format != "json" {
		return usage(fmt.Errorf("--format %q is unknown: want table or json", o.format))
	}
	l := jobs.NewLedger(policy)
	var floors []string
	for _, f := range o.floors {
		i := strings.LastIndexByte(f, '=')
		if i <= 0 {
			return usage(fmt.Errorf("--floor %q: want SENSOR=WATTS, such as rapl:package:0=31.5", f))
		}
		uw, err := trace.ParseMicro(f[i+1:])
		if err != nil {
			return usage(fmt.Errorf("--floor %q: %w", f, err))
		}
		l.FixFloor(f[:i], uw)
		floors = append(floors, f[:i])
	}
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		in = file
	}
	if err := trace.Replay(in, l); err != nil {
		return fmt.Errorf("replay %s: %w", path, err)
	}
	for _, f := range floors {
		if !l.Knows(f) {
			fmt.Fprintf(errOut, "alumet-job: --floor %s has no effect: the trace has no such sensor; it has %s\n", f, strings.Join(sensorNames(l), ", "))
		}
	}
	write := writeReplayTable
	if o.format == "json" {
		write = writeReplayJSON
	}
	if err := write(out, l); err != nil {
		return err
	}
	if d := l.Imbalance(); d != 0 {
		return errors.New("the accounts do not add up to what was measured: this is a fault of the ledger, please report it with the trace")
	}
	return nil
}

func sensorNames(l *jobs.Ledger) (names []string) {
	for _, a := range l.Accounts() {
		names = append(names, a.Sensor)
	}
	return names
}

type replayAccount struct {
	UJ    uint64            `json:"uj"`
	Steps map[string]uint64 `json:"steps,omitempty"`
}

type replaySensor struct {
	MeasuredUJ   uint64                   `json:"measured_uj"`
	UnmeasuredNs int64                    `json:"unmeasured_ns"`
	Accounts     map[string]replayAccount `json:"accounts"`
}

func writeReplayJSON(out io.Writer, l *jobs.Ledger) error {
	sensors := map[string]replaySensor{}
	for _, a := range l.Accounts() {
		s := replaySensor{MeasuredUJ: a.MeasuredUJ, UnmeasuredNs: a.UnmeasuredNs, Accounts: map[string]replayAccount{}}
		for _, j := range a.Jobs {
			x := replayAccount{UJ: j.UJ}
			for _, st := range j.Steps {
				if st.UJ > 0 {
					if x.Steps == nil {
						x.Steps = map[string]uint64{}
					}
					x.Steps[st.Step] = st.UJ
				}
			}
			s.Accounts[j.Job] = x
		}
		for _, n := range nodeAccounts(a.Totals) {
			if n.uj > 0 {
				s.Accounts[n.name] = replayAccount{UJ: n.uj}
			}
		}
		sensors[a.Sensor] = s
	}
	enc := json.NewEncoder(out)
	return enc.Encode(struct {
		Policy    string                  `json:"policy"`
		Sensors   map[string]replaySensor `json:"sensors"`
		Imbalance int64                   `json:"imbalance_uj"`
	}{l.Policy().Name(), sensors, l.Imbalance()})
}

type nodeAccount struct {
	name string
	uj   uint64
}

func nodeAccounts(t jobs.Totals) []nodeAccount {
	return []nodeAccount{{jobs.System, t.SystemUJ}, {jobs.Idle, t.IdleUJ}, {jobs.Vanished, t.VanishedUJ}, {jobs.Unobserved, t.UnobservedUJ}}
}

func writeReplayTable(out io.Writer, l *jobs.Ledger) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "sensor\taccount\tjoules\tshare\t\n")
	for _, a := range l.Accounts() {
		row := func(name string, uj uint64) {
			fmt.Fprintf(w, "%s\t%s\t%d.%06d\t%.2f %%\t\n", a.Sensor, name, uj/1e6, uj%1e6, 100*float64(uj)/float64(max(1, a.MeasuredUJ)))
		}
		for _, j := range a.Jobs {
			row(j.Job, j.UJ)
			for _, st := range j.Steps {
				if st.UJ > 0 {
					row(j.Job+" "+st.Step, st.UJ)
				}
			}
		}
		for _, n := range nodeAccounts(a.Totals) {
			if n.uj > 0 {
				row(n.name, n.uj)
			}
		}
		row("measured", a.MeasuredUJ)
		if a.UnmeasuredNs > 0 {
			fmt.Fprintf(w, "%s\tnot measured\t%.3f s\t\t\n", a.Sensor, float64(a.UnmeasuredNs)/1e9)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "policy %s, imbalance %d µJ\n", l.Policy(), l.Imbalance())
	return err
}
