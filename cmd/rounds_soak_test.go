//go:build soak

package cmd

// killRounds is the number of rounds of TestKillRounds.
const killRounds = 50
