package cmd

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestHostileOwner: the service's user replaces files of its directories with links, before root runs commands there.
// Root reads, writes and gives away no file by them.
func TestHostileOwner(t *testing.T) {
	t.Parallel()
	d := newOwnedDir(t)
	d.run(t, 0, `{"account":"ada"}`, exitDone, "user", "import")
	must := func(errs ...error) {
		t.Helper()
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	secret, backups := filepath.Join(d.dir, "secret"), filepath.Join(d.dir, "backups")
	const content = "standalone\n" // the content of the file mode, so that it is mistaken for that
	must(os.WriteFile(secret, []byte(content), 0o600), os.Mkdir(backups, 0o700), os.Chown(backups, serviceUser, serviceUser))
	const marker = "root's secret"
	intact := func(after string) {
		t.Helper()
		info, err := os.Stat(secret)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(secret)
		if st := info.Sys().(*syscall.Stat_t); err != nil || !strings.HasPrefix(string(got), content) || st.Uid != 0 {
			t.Errorf("after %s: root's file has %q and belongs to %d: %v", after, got, st.Uid, err)
		}
	}
	instead := func(name, target string, do func()) {
		t.Helper()
		path := filepath.Join(d.data, name)
		must(os.Rename(path, path+".aside"), os.Symlink(target, path))
		do()
		must(os.Remove(path), os.Rename(path+".aside", path))
	}
	command := func(args string) {
		c := d.as(t, 0, "", strings.Fields(args)...)
		out, _ := c.CombinedOutput() // some commands fail
		t.Logf("%s: %s", args, out)
		intact(args)
	}

	instead("mode", secret, func() {
		instead("lock", secret, func() {
			command("user list")
			command("status")
			command("serve")
		})
	})
	log := new(logBuffer)
	server := d.as(t, serviceUser, "", "serve")
	server.Stdout, server.Stderr = log, log
	must(server.Start())
	t.Cleanup(func() { _, _ = server.Process.Kill(), server.Wait() }) // it is stopped at the end of the test
	eventually(t, "the server is ready", func() bool { return strings.Contains(log.String(), "imctl is ready") })
	instead("admin.json", secret, func() {
		must(os.WriteFile(secret, []byte(content+marker), 0o600))
		command("backup all.tar")
		command("backup --every 1h " + backups)
		must(os.WriteFile(secret, []byte(content), 0o600))
	})
	all, err := filepath.Glob(filepath.Join(backups, "*.tar"))
	must(err)
	for _, backup := range append(all, filepath.Join(d.dir, "all.tar")) {
		if got, err := os.ReadFile(backup); err != nil || bytes.Contains(got, []byte(marker)) {
			t.Errorf("%s has root's file, or can't be read: %v", backup, err)
		}
		must(os.Remove(backup))
	}
	must(os.Remove(filepath.Join(backups, ".imctl-im-lock")))

	made := filepath.Join(d.dir, "made")
	lock := filepath.Join(backups, ".imctl-im-lock")
	must(os.Symlink(made, lock))
	command("backup --every 1h " + backups)
	if _, err := os.Lstat(made); err == nil {
		t.Error("root has made a file by a link in the directory of backups")
	}
	must(os.Remove(lock))
	d.run(t, 0, "", exitDone, "backup", "--every", "1h", backups)
	files, err := os.ReadDir(backups)
	must(err)
	if len(files) != 2 {
		t.Errorf("got %v, want a backup and the lock", files)
	}
	for _, f := range files {
		info, err := f.Info()
		must(err)
		if st := info.Sys().(*syscall.Stat_t); st.Uid != serviceUser || st.Gid != serviceUser {
			t.Errorf("%s belongs to %d:%d", f.Name(), st.Uid, st.Gid)
		}
	}
	must(server.Process.Signal(syscall.SIGTERM), server.Wait())
	d.wantOwner(t, "the commands")
}
