//go:build soak

package cmd

// killRounds is the number of rounds of TestKillRounds.
const killRounds = 50

// keepKills is how often the tests of kept conversations kill a server, and modelSteps the steps of TestKeptModel.
const (
	keepKills  = 50
	modelSteps = 100_000
)

// pathCuts is how often TestKeptOverDeadPath cuts the path.
const pathCuts = 20

// pageReloads is how often TestPageUnderTraffic reloads the page, or leaves it.
const pageReloads = 30

// bothBrowsers is whether the tests of anyBrowser run in Firefox, too.
const bothBrowsers = true
