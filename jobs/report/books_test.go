package report

import (
	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/jobs"
	"github.com/alumet-hpc/alumet-hpc/jobs/store"
)

const (
	second = int64(1e9)
	noon   = 1_772_366_400 * second // 2026-03-01 12:00:00 UTC
)

// node is a machine with two packages, their memory, two GPUs, a platform sensor and a wattmeter.
func node() []jobs.SensorRecord {
	return []jobs.SensorRecord{
		{Sensor: agent.Sensor{Name: "rapl:package:0", Resource: agent.CPUPackage(0), Domain: "package"}, FloorUW: 31_500_000, FloorLearned: true},
		{Sensor: agent.Sensor{Name: "rapl:package:1", Resource: agent.CPUPackage(1), Domain: "package", Socket: 1}, FloorUW: 31_500_000, FloorLearned: true},
		{Sensor: agent.Sensor{Name: "rapl:pp0:0", Resource: agent.CPUPackage(0), Domain: "pp0", Scope: agent.ScopePart}},
		{Sensor: agent.Sensor{Name: "rapl:dram:0", Resource: agent.DRAM(0), Domain: "dram"}, FloorUW: 2_000_000},
		{Sensor: agent.Sensor{Name: "rapl:dram:1", Resource: agent.DRAM(1), Domain: "dram", Socket: 1}, FloorUW: 2_000_000},
		{Sensor: agent.Sensor{Name: "nvml:gpu:0000:3b:00.0", Resource: agent.GPU("0000:3b:00.0"), Domain: "gpu", Holders: true}},
		{Sensor: agent.Sensor{Name: "nvml:gpu:0000:af:00.0", Resource: agent.GPU("0000:af:00.0"), Domain: "gpu", Holders: true}},
		{Sensor: agent.Sensor{Name: "tdp:package:0", Resource: agent.CPUPackage(0), Domain: "tdp", Estimated: true, Integrated: true}, FloorUW: 1},
		{Sensor: agent.Sensor{Name: "wattmeter", Resource: agent.LocalMachine(), Scope: agent.ScopeNode, Socket: -1, Integrated: true}, FloorUW: 90_000_000},
	}
}

// figures makes the job's figure by one sensor from its steps' parts, and what happened meanwhile.
func figures(sensor string, covered int64, meanwhile jobs.Totals, steps []string, uj ...uint64) []jobs.Figure {
	var list []jobs.Figure
	whole := jobs.Figure{Sensor: sensor, CoveredNs: covered, Meanwhile: meanwhile}
	for i, s := range steps {
		list = append(list, jobs.Figure{Sensor: sensor, Step: s, UJ: uj[i], UncertainUJ: uj[i] / 5000})
		whole.UJ += uj[i]
		whole.UncertainUJ += uj[i] / 5000
	}
	return append(list, whole)
}

// finished is a job of four steps on a shared node that ended as it should.
func finished() Input {
	const ran = 2467*second + 123456789
	steps := []string{"batch", "0", "1", "2", jobs.Between}
	j := jobs.JobRecord{
		ID: jobs.ID{Scheduler: "slurm", Name: "10707"}, Policy: "hybrid/1",
		Facts: jobs.Facts{User: "alice", UID: 1000, JobName: "water-box", CPUs: []int{0, 1, 2, 3, 4, 5, 6, 7}},
		Begin: 1000 * second, End: 1000*second + ran, WallBegin: noon, WallEnd: noon + ran,
		SeenBegin: true, FinalReading: jobs.FinalParent, Lives: 1, CPUNs: uint64(5900 * second), ExistNs: ran,
		Steps: []jobs.StepRecord{
			{Step: "0", SeenBegin: true, Begin: 1002 * second, End: 1502 * second, WallBegin: noon + 2*second, WallEnd: noon + 502*second, FinalReading: jobs.FinalGroup},
			{Step: "1", SeenBegin: true, Begin: 1503 * second, End: 2003 * second, WallBegin: noon + 503*second, WallEnd: noon + 1003*second, FinalReading: jobs.FinalGroup},
			{Step: "2", SeenBegin: true, Begin: 2004 * second, End: 3400 * second, WallBegin: noon + 1004*second, WallEnd: noon + 2400*second, FinalReading: jobs.FinalGroup},
			{Step: "batch", SeenBegin: true, Begin: 1000*second + 5, End: 1000*second + ran, WallBegin: noon + 5, WallEnd: noon + ran, FinalReading: jobs.FinalGroup},
		},
	}
	add := func(sensor string, scale uint64, covered int64) {
		u := []uint64{1_203_411 * scale, 10_402_119*scale + 3, 21_000_001*scale + 1, 42_345_678 * scale, 12_345*scale + 7}
		var sum uint64
		for _, x := range u {
			sum += x
		}
		m := jobs.Totals{SystemUJ: 901_234*scale + 5, IdleUJ: 44_120_003 * scale, MeasuredUJ: sum + 901_234*scale + 5 + 44_120_003*scale + 30_000_000*scale}
		j.Figures = append(j.Figures, figures(sensor, covered, m, steps, u...)...)
	}
	add("rapl:package:0", 1200, ran)
	add("rapl:package:1", 300, ran)
	add("rapl:pp0:0", 900, ran)
	add("rapl:dram:0", 60, ran)
	add("rapl:dram:1", 41, ran)
	add("wattmeter", 2900, ran-8*second)
	return Input{
		Records: []jobs.JobRecord{j}, Sensors: node(), Now: noon + 3600*second,
		Known: store.Known{Node: "node7", Cluster: "grenoble", Jobs: 412, OldestWall: noon - 86400*second, NewestWall: noon, Time: 9000 * second, Wall: noon + 3598*second, Policy: "hybrid/1"},
	}
}

// simulated is a live job on a simulated package with a model beside it, found running by an agent that was down for a
// while.
func simulated() Input {
	const ran = 93 * second
	steps := []string{"batch", "0", jobs.Between}
	j := jobs.JobRecord{
		ID: jobs.ID{Scheduler: "slurm", Name: "12"}, Policy: "usage/1, hybrid/1",
		Facts: jobs.Facts{UID: 1001, JobName: "\x1b]0;evil\a prices", ArrayJob: "10", ArrayTask: "2"},
		Begin: 1, WallBegin: noon, ExistNs: ran, CPUNs: 88_000_000_000, Lives: 2,
		Steps: []jobs.StepRecord{{Step: "batch", SeenBegin: true, Begin: 1, WallBegin: noon}, {Step: "0", SeenBegin: true, Begin: 2, End: 3 * second, WallBegin: noon + 1, WallEnd: noon + 3*second, FinalReading: jobs.FinalShared}},
	}
	m := jobs.Totals{MeasuredUJ: 4_000_000_000, SystemUJ: 1_000_000, IdleUJ: 2_000_000_000, VanishedUJ: 17, UnobservedUJ: 5_000_000}
	j.Figures = append(figures("rapl:package:0", 60*second, m, steps, 1_200_000_001, 300_000_000, 77), figures("tdp:package:0", ran, m, steps, 1_000_000_000, 250_000_000, 0)...)
	j.Figures[3].LateUJ = 12_345_678
	sensors := node()
	sensors[0].Sensor.Root = "/run/powersim/sys"
	sensors[0].FloorUW = 0
	return Input{
		Records: []jobs.JobRecord{j}, Sensors: sensors, Now: noon + 95*second,
		Known: store.Known{Node: "vm", Jobs: 1, OldestWall: noon, NewestWall: noon, Time: ran, Wall: noon + ran},
	}
}
