package embedded

import "path/filepath"

// Owner returns the id of the process that locked the data directory last, or 0 if it can't be read. The process may
// have ended: the lock file stays when the lock is released.
func Owner(path string) int { return ownerPID(filepath.Join(path, lockFile)) }
