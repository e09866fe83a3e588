//go:build !soak

package cmd

// killRounds is the number of rounds of TestKillRounds.
const killRounds = 4

// keepKills is how often the tests of kept conversations kill a server, and modelSteps the steps of TestKeptModel.
const (
	keepKills  = 3
	modelSteps = 2_000
)

// pathCuts is how often TestKeptOverDeadPath cuts the path.
const pathCuts = 3

// pageReloads is how often TestPageUnderTraffic reloads the page, or leaves it.
const pageReloads = 4

// moreDeployments are deployments of TestProtocol, besides deployments.
var moreDeployments []namedDeployment

// bothBrowsers is whether the tests of anyBrowser run in Firefox, too.
const bothBrowsers = false
