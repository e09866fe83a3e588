//go:build !soak

package cmd

// killRounds is how often TestKilledAgainAndAgain kills the server.
const killRounds = 4
