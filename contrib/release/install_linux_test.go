package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestInstall installs the .deb, runs the service as its unit says, upgrades, removes and purges it.
func TestInstall(t *testing.T) { onMachine(t, testInstallInside) }

// register registers a user over HTTP.
func (m *machine) register(account string) {
	m.t.Helper()
	body := fmt.Sprintf(`{"account":%q,"password":"correct horse","mail":"a@example.org"}`, account)
	response, err := http.Post("http://127.0.0.1:8080/im/register", "application/json", strings.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	defer response.Body.Close()
	var answer struct {
		Code int  `json:"code"`
		OK   bool `json:"ok"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || !answer.OK {
		m.t.Fatalf("register: %+v, %v", answer, err)
	}
}

func testInstallInside(t *testing.T, packages string) {
	m := newMachine(t, packages)
	const config, data, backups = "/etc/imctl/config.yaml", "/var/lib/imctl", "/var/backups/imctl"

	m.run("dpkg", "--no-triggers", "-i", "/mnt/1.deb")
	m.called("daemon-reload", "start imctl.service")
	m.want("configuration", m.owner(config), "640 root:imctl")
	m.want("data directory", m.owner(data), "700 imctl:imctl")
	m.want("backup directory", m.owner(backups), "700 imctl:imctl")
	m.want("binary", m.owner("/usr/bin/imctl"), "755 root:root")
	m.exists(true, "/usr/share/man/man1/imctl.1.gz", "/usr/share/man/man5/imctl-config.5.gz", "/usr/share/doc/imctl/copyright", "/usr/share/doc/imctl/LICENSE",
		"/usr/share/bash-completion/completions/imctl", "/usr/share/doc/imctl/THIRD_PARTY_NOTICES", "/usr/share/doc/imctl/config.yaml",
		"/usr/lib/systemd/system/imctl-backup.timer", "/etc/systemd/system/multi-user.target.wants/imctl.service")
	s := m.start()
	m.register("ada")
	m.run("imctl", "health", "--config", config)
	if users := m.run("imctl", "user", "list", "--config", config); !strings.Contains(users, "ada") {
		t.Errorf("users are %s", users)
	}

	// An upgrade keeps data, configuration and the owner of both.
	m.write(config, strings.Replace(m.read(config), "registration: open", "registration: closed", 1), 0o640)
	m.run("chgrp", "imctl", config)
	m.run("dpkg", "--no-triggers", "-i", "/mnt/2.deb")
	m.called("daemon-reload", "try-restart imctl.service")
	s.stop()
	s = m.start()
	if version := m.run("imctl", "version"); !strings.HasPrefix(version, "imctl v1.1.0\n") {
		t.Errorf("version is %s", version)
	}
	m.want("configuration", m.owner(config), "640 root:imctl")
	if users := m.run("imctl", "user", "list", "--config", config); !strings.Contains(users, "ada") {
		t.Errorf("users are %s", users)
	}
	if text := m.read(config); !strings.Contains(text, "registration: closed") {
		t.Errorf("the configuration was replaced: %s", text)
	}
	s.stop()

	m.run("dpkg", "--no-triggers", "-r", "imctl")
	m.called("stop imctl.socket imctl-backup.timer imctl-backup.service imctl.service")
	m.exists(false, "/usr/bin/imctl", "/usr/lib/systemd/system/imctl.service")
	m.exists(true, config, data+"/admin.json")
	m.run("dpkg", "--no-triggers", "-i", "/mnt/2.deb")
	s = m.start()
	if users := m.run("imctl", "user", "list", "--config", config); !strings.Contains(users, "ada") {
		t.Errorf("after a removal and an installation, users are %s", users)
	}
	s.stop()

	// A purge deletes the data, and says so. It keeps backups, and their owner with them.
	m.write(backups+"/imctl.tar", "a backup", 0o600)
	if text := m.run("dpkg", "--no-triggers", "-P", "imctl"); !strings.Contains(text, "Deleting all accounts and conversations") || !strings.Contains(text, "Backups stay") {
		t.Errorf("purge says %s", text)
	}
	m.exists(false, "/usr/bin/imctl", "/etc/imctl", data, "/etc/systemd/system/multi-user.target.wants/imctl.service")
	m.exists(true, backups+"/imctl.tar")
	m.run("id", "imctl")
	m.run("rm", backups+"/imctl.tar")
	m.run("dpkg", "--no-triggers", "-i", "/mnt/1.deb")
	m.run("dpkg", "--no-triggers", "-P", "imctl")
	m.exists(false, backups, data)
	if passwd := m.read("/etc/passwd"); strings.Contains(passwd, "imctl") {
		t.Error("the user imctl is still there")
	}
}
