//go:build race

package tunnel

// raced tells that the race detector is on, under which pools forget some of what they hold.
const raced = true
