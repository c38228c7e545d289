package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/agent/config"
	"github.com/alumet-hpc/alumet-hpc/agent/sysfile"
	"github.com/alumet-hpc/alumet-hpc/jobs"
	"github.com/alumet-hpc/alumet-hpc/jobs/jobenergy"
	"github.com/alumet-hpc/alumet-hpc/scheduler/cgroups"
)

// node is an agent that is open but does not run yet, with what its plugins share.
type node struct {
	agent   *agent.Agent
	book    *jobenergy.Book // nil: no job energy
	tracker *cgroups.Tracker
	log     *slog.Logger
	general general
}

// openNode reads the configuration and opens the books, then the plugins.
func openNode(o *options, errOut io.Writer) (_ *node, err error) {
	log, err := newLog(o.logLevel, errOut)
	if err != nil {
		return nil, usage(err)
	}
	file, g, err := o.load()
	if err != nil {
		return nil, err
	}
	log.Info("starting alumet-agent", "version", version, "config", o.path())
	n := &node{log: log, general: g}
	var books jobs.Books = jobs.NoBooks{}
	opts := agent.Options{Sys: g.Sys, Proc: g.Proc, Log: log}
	if s := file.Section(jobenergy.Name); s.Enabled {
		if n.book, err = openBook(*s.Config.(*jobenergy.Config), g, o.record, log); err != nil {
			return nil, err
		}
		books, opts.Meter, opts.Clock, opts.Stopped = n.book, n.book, n.book.Clock(), n.close
	} else if o.record != "" {
		return nil, fmt.Errorf("--record needs the plugin %s, which is not enabled", jobenergy.Name)
	}
	n.tracker = cgroups.New(books)
	if n.book != nil {
		n.book.Follow(n.tracker.Refresh)
	}
	n.agent, err = agent.New(opts, enabled(file, plugins(n.book, n.tracker), len(o.plugins) > 0))
	if err != nil {
		return nil, errors.Join(err, n.close())
	}
	n.tracker.On(g.Sys, g.Proc, log, n.agent.Edge) // where no scheduler's plugin has attached to it
	n.announce()
	return n, nil
}

func openBook(c jobenergy.Config, g general, record string, log *slog.Logger) (*jobenergy.Book, error) {
	topology, err := sysfile.ReadTopology(g.Sys)
	if err != nil {
		return nil, fmt.Errorf("read the CPUs of this node: %w", err)
	}
	var sockets []jobs.Socket
	for _, s := range topology.Sockets {
		sockets = append(sockets, jobs.Socket{ID: s.ID, CPUs: s.CPUs})
	}
	name := g.Node
	if name == "" {
		if name, err = os.Hostname(); err != nil {
			return nil, fmt.Errorf("find this node's name: %w", err)
		}
	}
	b, err := jobenergy.Open(c, jobenergy.Options{Proc: g.Proc, Log: log, Sockets: sockets, Record: record, Node: name})
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		err = fmt.Errorf("%w; run as root, or name another file with --db or ALUMET_JOBS_DB", err)
	}
	return b, err
}

// enabled pairs the sections that are on with the plugins to open. Those named on the command line are required.
func enabled(file *config.File, all []agent.Plugin, named bool) []agent.Enabled {
	var list []agent.Enabled
	for _, s := range file.Sections {
		if !s.Enabled {
			continue
		}
		i := slices.IndexFunc(all, func(p agent.Plugin) bool { return p.Name == s.Plugin.Name })
		list = append(list, agent.Enabled{Plugin: all[i], Config: s.Config, Required: s.Required || named})
	}
	return list
}

// announce says what was started.
func (n *node) announce() {
	on, off := n.agent.Plugins()
	sources, transforms, outputs := n.agent.Count()
	n.log.Info("plugins started", "on", strings.Join(on, ","), "off", strings.Join(off, ","), "metrics", len(n.agent.Metrics().All()),
		"sources", sources, "transforms", transforms, "outputs", outputs)
	if n.book == nil {
		return
	}
	sensors := n.book.Registered()
	if len(sensors) == 0 {
		n.log.Warn("no energy sensor is available: jobs are followed, but have no energy. Load the kernel's RAPL module (modprobe intel_rapl_common), or enable tdp-model for an estimate")
	}
	for _, name := range n.book.UnknownFloors() {
		n.log.Warn("a floor is configured for a sensor that is not here", "sensor", name, "known", known(sensors))
	}
	for _, s := range sensors {
		if s.Root != "" {
			n.log.Warn("sensor is not read from this machine's /sys", "sensor", s.Name, "root", s.Root)
		}
	}
}

func known(sensors []*agent.Sensor) string {
	var names []string
	for _, s := range sensors {
		names = append(names, s.Name)
	}
	return strings.Join(names, ", ")
}

// close closes what the plugins share; they themselves are closed by the agent's Run.
func (n *node) close() error {
	err := n.tracker.Close()
	if n.book != nil {
		err = errors.Join(err, n.book.Close())
	}
	return err
}

// run measures until ctx ends. The books are closed as soon as everything was read for the last time.
func (n *node) run(ctx context.Context, ready func()) error { return n.agent.Run(ctx, ready) }

func newLog(level string, w io.Writer) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level %q: want debug, info, warn or error", level)
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: l})), nil
}
