package embedded

// Interest is how many subscriptions a message on the subject would reach at this moment: each one of this server's own
// clients, and one more for each server of the cluster that has some. It asks nobody, so it may be asked often.
func (s *Server) Interest(subject string) int {
	a, err := s.ns.LookupAccount(account)
	if err != nil {
		return 0 // only while the server stops
	}
	return a.Interest(subject)
}
