// Package config finds, reads, merges and prints the configuration file. It knows no plugin: it is given a list of
// [agent.Plugin] and works on their default values.
package config
