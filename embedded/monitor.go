package embedded

import (
	"net/http"

	natsserver "github.com/nats-io/nats-server/v2/server"
)

// Monitor returns the handler of the NATS server's own monitoring: /varz, /jsz, /routez and so on. It shows names and
// addresses of clients, and no secrets.
func (s *Server) Monitor() http.Handler {
	mux := http.NewServeMux()
	for path, handle := range map[string]func(*natsserver.Server, http.ResponseWriter, *http.Request){
		natsserver.VarzPath:         (*natsserver.Server).HandleVarz,
		natsserver.ConnzPath:        (*natsserver.Server).HandleConnz,
		natsserver.RoutezPath:       (*natsserver.Server).HandleRoutez,
		natsserver.SubszPath:        (*natsserver.Server).HandleSubsz,
		natsserver.AccountzPath:     (*natsserver.Server).HandleAccountz,
		natsserver.AccountStatzPath: (*natsserver.Server).HandleAccountStatz,
		natsserver.JszPath:          (*natsserver.Server).HandleJsz,
		natsserver.HealthzPath:      (*natsserver.Server).HandleHealthz,
		natsserver.RaftzPath:        (*natsserver.Server).HandleRaftz,
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet && r.Method != http.MethodHead {
				http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
				return
			}
			handle(s.ns.Load(), w, r)
		})
	}
	return mux
}
