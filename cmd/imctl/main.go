// Command imctl is an instant-messaging server on NATS JetStream, and the tool
// that administers it.
package main

import "imctl/cmd"

func main() { cmd.Main() }
