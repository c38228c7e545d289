package config

import (
	"errors"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// switches finds the plugins that a document speaks of, and takes the keys out of it that are the agent's and not the
// plugin's: enabled, its other spelling enable, and required.
func (l *loader) switches(d *document) error {
	var names []string
	for _, s := range l.sections {
		names = append(names, s.Plugin.Name)
	}
	var errs []error
	unknown := map[string]bool{}
	for _, k := range d.keys {
		if len(k.path) < 2 || k.path[0] != "plugins" {
			continue
		}
		i := slices.Index(names, k.path[1])
		if i < 0 {
			if !unknown[k.path[1]] {
				errs = append(errs, d.at(k.start).errorf("plugins.%s: unknown plugin%s", k.path[1], hint(k.path[1], names)))
			}
			unknown[k.path[1]] = true
			continue
		}
		s := l.sections[i]
		if !s.Present {
			s.Present, s.Enabled, s.where = true, true, d.at(k.start)
		}
		if err := l.applySwitch(d, s, k); err != nil {
			errs = append(errs, err)
		}
		if err := l.needText(d, k); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// applySwitch handles one key that may be a switch of a section.
func (l *loader) applySwitch(d *document, s *Section, k key) error {
	if len(k.path) != 3 || k.header {
		return nil
	}
	if _, own := resolve(l.root.Type(), k.path); own {
		return nil
	}
	name := k.path[2]
	if name != "enabled" && name != "enable" && name != "required" {
		return nil
	}
	if k.value != unstable.Bool {
		return d.at(k.start).errorf("%s: want true or false, got %s", strings.Join(k.path, "."), article(strings.ToLower(k.value.String())))
	}
	on := k.data == "true"
	if name == "required" {
		s.Required = on
	} else if name == "enabled" || !d.hasKey("plugins", s.Plugin.Name, "enabled") {
		s.Enabled = on
	}
	d.blank(k)
	return nil
}

// needText refuses what is no text where a text is wanted, such as `poll_interval = 5`: the decoder would take the number as
// nanoseconds.
func (l *loader) needText(d *document, k key) error {
	if k.header || k.value == unstable.String {
		return nil
	}
	t, ok := resolve(l.root.Type(), k.path)
	if !ok || !isText(t) {
		return nil
	}
	return d.at(k.start).errorf("%s: want %s, got %s", strings.Join(k.path, "."), describe(t), article(strings.ToLower(k.value.String())))
}
