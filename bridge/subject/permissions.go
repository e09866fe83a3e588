package subject

// Streams returns the names of all streams of the installation, those in which a restore stages data included.
func (p Prefix) Streams() []string {
	all := []string{p.LogStream(), p.LogRestoreStream(), p.AuditStream(), p.TalkStream(), p.TalkRestoreStream(), p.FileStream(), p.FileRestoreStream(), p.WebhookStream()}
	for _, bucket := range p.AllBuckets() {
		all = append(all, BucketStream(bucket))
	}
	return all
}

// StreamPublish returns the filters of all requests about a stream and its consumers in a JetStream domain. The numbers
// of words are fixed wherever another stream could stand: CONSUMER.*.*.<stream>.> would also match requests for a
// consumer with the name of this stream on another one.
func StreamPublish(domain, stream string) []string {
	api := API(domain)
	return []string{
		api + "STREAM.*." + stream, // create, update, info, purge, delete, snapshot, restore
		api + "STREAM.MSG.*." + stream,
		api + "STREAM.PEER.*." + stream,
		api + "STREAM.LEADER.*." + stream,
		api + "DIRECT.GET." + stream,
		api + "DIRECT.GET." + stream + ".>",
		api + "CONSUMER.*." + stream, // list, names, and create
		api + "CONSUMER.*." + stream + ".>",
		api + "CONSUMER.MSG.NEXT." + stream + ".>",
		api + "CONSUMER.DURABLE.CREATE." + stream + ".>",
		api + "CONSUMER.LEADER.STEPDOWN." + stream + ".>",
		"$JS.SNAPSHOT.*." + stream + ".>",
		"$JS.FC." + stream + ".>",
		"$JS.ACK." + stream + ".*.*.*.*.*.*",
		"$JS.ACK.*.*." + stream + ".*.*.*.*.*.>", // with the JetStream domain and the hash of the account
	}
}

// StreamAdvisories returns the filters of what JetStream tells of a stream and its consumers.
func StreamAdvisories(stream string) []string {
	const advisory = "$JS.EVENT.ADVISORY.*.*."
	return []string{advisory + stream, advisory + stream + ".>"}
}

// ServicePublish returns the filters of the requests about the administration as a NATS micro service.
func (p Prefix) ServicePublish() []string {
	return []string{"$SRV.*." + p.ServiceName(), "$SRV.*." + p.ServiceName() + ".*"}
}

// ServiceSubscribe returns the filters to which a NATS micro service subscribes besides its endpoints.
func (p Prefix) ServiceSubscribe() []string {
	// NATS lets a client that may subscribe to $SRV.* subscribe to $SRV.>, too.
	return append([]string{"$SRV.PING", "$SRV.INFO", "$SRV.STATS"}, p.ServicePublish()...)
}
