package store

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/jobs"
	"github.com/alumet-hpc/alumet-hpc/jobs/trace"
)

// sharedNode is two jobs, one with steps and one found running, on one package and a wattmeter that reads late.
const sharedNode = `{"type":"machine","cpus":[{"socket":0,"cpus":[0,1,2,3]}]}
{"type":"sensor","t":1000000000,"sensor":"rapl:package:0","socket":0,"uj":5000000}
{"type":"sensor","t":1000000000,"sensor":"wattmeter","watts":100}
{"type":"busy","t":1000000000,"socket":0,"cpu_ns":0}
{"type":"begin","t":1100000000,"job":"slurm/7","cpus":[0,1]}
{"type":"begin","t":1200000000,"job":"slurm/7","step":"0"}
{"type":"found","t":1300000000,"job":"oar/9","cpus":[2],"cpu_ns":55}
{"type":"usage","t":2000000000,"job":"slurm/7","step":"0","cpu_ns":700000001}
{"type":"usage","t":2000000000,"job":"slurm/7","cpu_ns":900000003}
{"type":"usage","t":2000000000,"job":"oar/9","cpu_ns":333333333}
{"type":"busy","t":2000000000,"socket":0,"cpu_ns":1777777777}
{"type":"sensor","t":2000000000,"sensor":"rapl:package:0","socket":0,"uj":45000007}
{"type":"sensor","t":2500000000,"sensor":"wattmeter","watts":133.7}
{"type":"end","t":2600000000,"job":"slurm/7","step":"0","cpu_ns":1200000001}
{"type":"end","t":2700000000,"job":"slurm/7","cpu_ns":1400000003}
{"type":"usage","t":3000000000,"job":"oar/9","cpu_ns":777777777}
{"type":"busy","t":3000000000,"socket":0,"cpu_ns":2888888888}
{"type":"sensor","t":3000000000,"sensor":"rapl:package:0","socket":0,"uj":99999999}
{"type":"sensor","t":3100000000,"sensor":"wattmeter","watts":90}
`

// TestLedgerBalances keeps what a ledger says and asks the store for the accounts: they are the ledger's.
func TestLedgerBalances(t *testing.T) {
	for policy := jobs.PolicyHybrid; policy <= jobs.PolicyAllocated; policy++ {
		l := jobs.NewLedger(policy)
		if err := trace.Replay(strings.NewReader(sharedNode), l); err != nil {
			t.Fatal(err)
		}
		r := &jobs.Record{Time: 3100000000, Wall: 1, Policy: policy.String(), Jobs: l.Records(nil, 3100000000)}
		for _, a := range l.Accounts() {
			r.Sensors = append(r.Sensors, jobs.SensorRecord{Sensor: agent.Sensor{Name: a.Sensor}, Totals: a.Totals})
		}
		path := filepath.Join(t.TempDir(), "jobs.db")
		recordT(t, openT(t, path), r)
		v := viewT(t, path)
		for _, want := range l.Accounts() {
			a, err := v.Accounts(want.Sensor)
			if err != nil || a.MeasuredUJ == 0 || a.MeasuredUJ != want.MeasuredUJ || a.ImbalanceUJ() != 0 {
				t.Errorf("%v: %+v, %v, imbalance %d, want %+v", policy, a, err, a.ImbalanceUJ(), want)
			}
			got := map[string]uint64{}
			for _, x := range a.Accounts {
				got[x.Name] = x.UJ
			}
			for _, j := range want.Jobs {
				if got[j.Job] != j.UJ {
					t.Errorf("%v: %s by %s has %d uJ, want %d", policy, j.Job, want.Sensor, got[j.Job], j.UJ)
				}
				checkSteps(t, v, want.Sensor, j)
			}
		}
	}
}

// checkSteps compares the stored parts of a job with the ledger's, and adds them up.
func checkSteps(t *testing.T, v *View, sensor string, want jobs.JobAccount) {
	t.Helper()
	id, err := jobs.ParseID(want.Job)
	if err != nil {
		t.Fatal(err)
	}
	list, err := v.Job(Query{Scheduler: id.Scheduler, Name: id.Name})
	if err != nil || len(list) != 1 {
		t.Fatalf("%s: %d records, %v", want.Job, len(list), err)
	}
	got, sum := map[string]uint64{}, uint64(0)
	for _, f := range list[0].Figures {
		if f.Sensor == sensor {
			got[f.Step] = f.UJ
			if f.Step != "" {
				sum += f.UJ
			}
		}
	}
	if got[""] != sum {
		t.Errorf("%s by %s: %d uJ, its parts %d", want.Job, sensor, got[""], sum)
	}
	for _, s := range want.Steps {
		if got[s.Step] != s.UJ {
			t.Errorf("%s.%s by %s: %d uJ, want %d", want.Job, s.Step, sensor, got[s.Step], s.UJ)
		}
	}
}
