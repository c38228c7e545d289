// Package csv writes points to a CSV file, one a line, with a column for each attribute that is known when the header is
// written.
package csv

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/agent/config"
)

// Config is the configuration of the plugin.
type Config struct {
	OutputPath    string      `toml:"output_path" comment:"Absolute or relative path to the output file."`
	ForceFlush    bool        `toml:"force_flush" comment:"Flush after each write of measurements? If not, they reach the file 64 KiB at a time."`
	AppendUnit    bool        `toml:"append_unit_to_metric_name" comment:"Append the unit to the metric name?"`
	DisplayName   bool        `toml:"use_unit_display_name" comment:"Use the unit's display name, such as J or µs, instead of its unique name?"`
	Delimiter     string      `toml:"csv_delimiter" comment:"The CSV delimiter, such as ';'."`
	LateDelimiter string      `toml:"csv_late_delimiter" comment:"What separates the attributes in the column __late_attributes."`
	MaxSize       config.Size `toml:"max_size" comment:"Begin a new file before this one becomes larger, such as \"100MB\"; 0: never."`
	MaxFiles      int         `toml:"max_files" comment:"How many old files to keep when max_size has begun a new one; 0: all."`
}

func defaults() Config {
	return Config{
		OutputPath: "alumet-output.csv", ForceFlush: true, AppendUnit: true, DisplayName: true, Delimiter: ";", LateDelimiter: ",",
	}
}

// Validate implements [agent.Validator].
func (c *Config) Validate() error {
	if c.OutputPath == "" {
		return errors.New("output_path must not be empty")
	}
	if c.MaxFiles < 0 {
		return errors.New("max_files must not be negative")
	}
	if err := oneLetter("csv_delimiter", c.Delimiter, "\"\r\n"); err != nil {
		return err
	}
	return oneLetter("csv_late_delimiter", c.LateDelimiter, "=\\\"\r\n")
}

func oneLetter(key, value, not string) error {
	if utf8.RuneCountInString(value) != 1 || strings.ContainsAny(value, not) {
		return fmt.Errorf("%s must be one character and none of %q", key, not)
	}
	return nil
}

// Plugin declares the plugin `csv`.
func Plugin() agent.Plugin {
	return agent.Define("csv", "Writes the measurements to a CSV file.", defaults, open)
}

func open(s *agent.Setup, c Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	o := newOutput(c, s.Metrics(), s.Log)
	// The file is opened now, so that a path that cannot be written stops the start, and touched at the first write.
	if err := o.out.open(); err != nil {
		return err
	}
	s.OnClose(o.close)
	s.Output("out", o)
	return nil
}
