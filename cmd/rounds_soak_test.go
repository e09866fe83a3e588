//go:build soak

package cmd

// killRounds is how often TestKillRounds kills the server.
const killRounds = 50
