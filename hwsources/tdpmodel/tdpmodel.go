// Package tdpmodel estimates the energy of processor packages where no counter measures it, from the power that they are
// designed for and the time that their CPUs are busy. It is a model: its sensors and results are marked as estimated.
package tdpmodel

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/agent/config"
	"github.com/alumet-hpc/alumet-hpc/agent/sysfile"
)

// Config is the configuration of the plugin.
type Config struct {
	TDP           float64         `toml:"tdp" comment:"Power of one package with all its CPUs busy, in watts: its thermal design power."`
	Idle          float64         `toml:"idle" comment:"Power of one package with all its CPUs idle, in watts."`
	BesideRAPL    bool            `toml:"beside_rapl" comment:"Estimate also where RAPL counters measure the packages? Totals would count them twice."`
	PollInterval  config.Duration `toml:"poll_interval" comment:"Interval between two estimates."`
	FlushInterval config.Duration `toml:"flush_interval" comment:"Interval between two flushing of estimates."`
}

func defaults() Config {
	return Config{TDP: 100, PollInterval: config.Duration(1e9), FlushInterval: config.Duration(5e9)}
}

// maxWatts bounds what can be configured: more is a mistake of units, and the integers below are made for it.
const maxWatts = 10_000

// Validate implements [agent.Validator].
func (c *Config) Validate() error {
	switch {
	case !(c.TDP > 0 && c.TDP <= maxWatts):
		return fmt.Errorf("tdp must be in watts, greater than 0 and at most %d", maxWatts)
	case !(c.Idle >= 0 && c.Idle <= c.TDP):
		return errors.New("idle must be in watts, from 0 to tdp")
	}
	return c.PollInterval.AtLeast("poll_interval", config.ShortestPoll)
}

// Plugin declares the plugin `tdp-model`.
func Plugin() agent.Plugin {
	return agent.Define("tdp-model", "Estimates the energy of processor packages by their design power, for machines without energy counters.",
		defaults, open)
}

func open(s *agent.Setup, c Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	if zone := sysfile.ReadableEnergyZone(s.Sys); zone != "" && !c.BesideRAPL {
		return fmt.Errorf("%w: no estimate is needed, as %s measures: enable the plugin rapl, or set beside_rapl = true",
			agent.ErrNotSupported, zone)
	}
	top, err := sysfile.ReadTopology(s.Sys)
	if err != nil {
		return fmt.Errorf("%w: the CPUs of the packages are not known: %w", agent.ErrNotSupported, err)
	}
	stat, err := sysfile.Open(filepath.Join(s.Proc, "stat"))
	if err != nil {
		return fmt.Errorf("%w: %w", agent.ErrNotSupported, err)
	}
	s.OnClose(stat.Close)
	src := newSource(s, c, top, stat)
	for _, p := range src.packages {
		if err := s.Meter.Sensor(p.sensor); err != nil {
			return err
		}
	}
	when := agent.Schedule{Period: c.PollInterval.Std(), Flush: c.FlushInterval.Std(), Phase: agent.PhaseEnergy}
	s.Source("in", when, src)
	return nil
}

// newSource makes the source with a sensor for each package.
func newSource(s *agent.Setup, c Config, top sysfile.Topology, stat *sysfile.File) *source {
	src := &source{meter: s.Meter, stat: stat}
	src.metric = s.Metric(agent.Metric{
		Name: "tdp_estimated_energy", Description: "Estimated energy of the package since the previous estimate", Type: agent.TypeF64,
		Unit: agent.Unit{Base: agent.Joule},
	})
	root := ""
	for path, usual := range map[string]string{s.Proc: "/proc", s.Sys: "/sys"} {
		if filepath.Clean(path) != usual {
			root = path
		}
	}
	for _, socket := range top.Sockets {
		p := &pkg{
			idleUW: microwatts(c.Idle), rangeUW: microwatts(c.TDP) - microwatts(c.Idle), cpus: uint64(len(socket.CPUs)),
			resource: agent.CPUPackage(socket.ID),
		}
		p.sensor = &agent.Sensor{
			Name: fmt.Sprintf("tdp:package:%d", socket.ID), Resource: p.resource, Domain: "package", Socket: socket.ID,
			Scope: agent.ScopeComponent, StepNs: sysfile.TickNs, Estimated: true, Root: root,
		}
		src.packages = append(src.packages, p)
		for _, cpu := range socket.CPUs {
			for len(src.cpus) <= cpu {
				src.cpus = append(src.cpus, busy{})
			}
			src.cpus[cpu].owner = p
		}
	}
	return src
}

func microwatts(watts float64) uint64 { return uint64(math.Round(watts * 1e6)) }
