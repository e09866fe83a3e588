//go:build soak

package cmd

import "testing"

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

// moreDeployments are deployments of TestProtocol, besides deployments. The devices and the calls of a user are on one
// server.
var moreDeployments = []namedDeployment{
	{"attached", func(t testing.TB) deployment { return startBridges(t, 1, tableSettings) }},
	{"two servers", func(t testing.TB) deployment { return startBridges(t, 2, tableSettings) }},
	{"cluster of three", func(t testing.TB) deployment { return startCluster(t, 3, tableSettings) }},
}

// bothBrowsers is whether the tests of anyBrowser run in Firefox, too.
const bothBrowsers = true
