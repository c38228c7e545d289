package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/agent/config"
	"github.com/alumet-hpc/alumet-hpc/jobs/jobenergy"
	"github.com/alumet-hpc/alumet-hpc/scheduler/slurm"
)

// options are the flags that every command takes, before or after its name.
type options struct {
	configPath string
	noDefault  bool
	overrides  []string
	plugins    []string
	outputFile string
	db         string
	record     string
	logLevel   string
}

func (o *options) addFlags(root *cobra.Command) {
	f := root.PersistentFlags()
	f.StringVar(&o.configPath, "config", "", "configuration `file` (env ALUMET_CONFIG; default alumet-config.toml, made when missing)")
	f.BoolVar(&o.noDefault, "no-default-config", false, "fail when the configuration file is missing instead of making it")
	f.StringArrayVar(&o.overrides, "config-override", nil, "`TOML` laid over the configuration, such as plugins.rapl.poll_interval='1ms' (repeatable)")
	f.StringSliceVar(&o.plugins, "plugins", nil, "comma-separated `list` of the plugins to enable, and no others")
	f.StringVar(&o.outputFile, "output-file", "", "path of the CSV `file`: plugins.csv.output_path")
	f.StringVar(&o.db, "db", "", "path of the jobs' store: plugins.job-energy.store (env ALUMET_JOBS_DB)")
	f.StringVar(&o.record, "record", "", "write what the ledger is told to `file`, for alumet-job replay")
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
}

// general are the top-level keys of the configuration.
type general struct {
	Sys  string `toml:"sys_root" comment:"Root of sysfs. Sensors that are read from another root are marked in reports."`
	Proc string `toml:"proc_root" comment:"Root of procfs."`
	Node string `toml:"node,commented" comment:"Name of this node in reports; default: the host's name."`
}

func defaultGeneral() general { return general{Sys: "/sys", Proc: "/proc"} }

func (o *options) path() string {
	for _, p := range []string{o.configPath, os.Getenv("ALUMET_CONFIG")} {
		if p != "" {
			return p
		}
	}
	return "alumet-config.toml"
}

// load reads the configuration, making the file first when it is missing.
func (o *options) load() (*config.File, general, error) {
	g := defaultGeneral()
	path := o.path()
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if o.noDefault {
			return nil, g, fmt.Errorf("configuration file %s does not exist; make it with: alumet-agent --config %s config regen", path, path)
		}
		if err := o.regenerate(path); err != nil {
			return nil, g, err
		}
	}
	var over []config.Override
	for _, text := range o.overrides {
		over = append(over, config.Override{Name: "--config-override", Text: text})
	}
	set := func(flag, key, value string) {
		if value != "" {
			over = append(over, config.Set(flag, key, value))
		}
	}
	set("--output-file", "plugins.csv.output_path", o.outputFile)
	if o.db == "" {
		o.db = os.Getenv("ALUMET_JOBS_DB")
	}
	set("--db", "plugins."+jobenergy.Name+".store", o.db)
	f, err := config.Load(path, plugins(nil, nil), &g, over...)
	if err != nil {
		return nil, g, err
	}
	if len(o.plugins) > 0 {
		if err := f.Only(withBooks(o.plugins)); err != nil {
			return nil, g, err
		}
	}
	return f, g, nil
}

// withBooks adds the books to a list of plugins that follow jobs: who measures jobs wants their energy.
func withBooks(names []string) []string {
	if slices.Contains(names, slurm.Name) && !slices.Contains(names, jobenergy.Name) {
		return append(slices.Clone(names), jobenergy.Name)
	}
	return names
}

// regenerate writes a configuration with the enabled plugins' defaults.
func (o *options) regenerate(path string) error {
	list, err := o.chosen()
	if err != nil {
		return err
	}
	var text strings.Builder
	g := defaultGeneral()
	if err := config.Write(&text, &g, list); err != nil {
		return err
	}
	if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
		return fmt.Errorf("write the default configuration: %w", err)
	}
	return nil
}

// chosen are the plugins to enable in a new configuration: those of --plugins, in that order, or the standard ones.
func (o *options) chosen() ([]agent.Plugin, error) {
	names := withBooks(o.plugins)
	if len(names) == 0 {
		names = standard()
	}
	all := plugins(nil, nil)
	var list []agent.Plugin
	for _, n := range names {
		i := slices.IndexFunc(all, func(p agent.Plugin) bool { return p.Name == n })
		if i < 0 {
			return nil, fmt.Errorf("plugin %q is unknown; alumet-agent plugins list shows them", n)
		}
		list = append(list, all[i])
	}
	return list, nil
}
