# Five machines for the tests of the testbed `ssh`: network namespaces with an sshd each, which has processes, mounts, `/run` and the folder
# of Labrys of its own. Run as PID 1 of namespaces that end with it, which is when its standard input ends.
#
# machines.sh FOLDER COUNT SSHD
set -eu
folder=$1 count=$2 sshd=$3
mount -t tmpfs tmpfs /run
ip link set lo up
ip link add switch type bridge stp_state 0 forward_delay 0 mcast_snooping 0
ip address add 10.9.0.254/24 dev switch
ip link set switch up
mkdir -p "$folder/machine"
ssh-keygen -q -t ed25519 -N '' -f "$folder/user"
: > "$folder/known_hosts"
for i in $(seq "$count"); do
    ip netns add "vm$i"
    ip link add "to-vm$i" type veth peer name eth0 netns "vm$i"
    ip link set "to-vm$i" master switch up
    ip -n "vm$i" link set lo up
    ip -n "vm$i" address add "10.9.0.$i/24" dev eth0
    ip -n "vm$i" link set eth0 up
    ssh-keygen -q -t ed25519 -N '' -f "$folder/host$i"
    echo "10.9.0.$i $(cut -d ' ' -f 1,2 < "$folder/host$i.pub")" >> "$folder/known_hosts"
    cat > "$folder/sshd$i.conf" <<CONF
ListenAddress 10.9.0.$i
HostKey $folder/host$i
AuthorizedKeysFile $folder/user.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
PermitRootLogin prohibit-password
MaxStartups 100
LogLevel ERROR
CONF
    # A size that a test can fill.
    ip netns exec "vm$i" unshare --mount --pid --fork --kill-child --mount-proc sh -c "
        mount -t tmpfs tmpfs /run && mkdir /run/sshd && mount -t tmpfs -o size=400m tmpfs '$folder/machine' &&
        exec '$sshd' -D -e -f '$folder/sshd$i.conf'" < /dev/null > "$folder/sshd$i.log" 2>&1 &
done
for i in $(seq "$count"); do
    tries=0
    until ssh -n -o BatchMode=yes -o UserKnownHostsFile="$folder/known_hosts" -i "$folder/user" "root@10.9.0.$i" true 2> "$folder/first$i"; do
        tries=$((tries + 1))
        [ "$tries" -lt 100 ] || { cat "$folder/first$i" "$folder/sshd$i.log" >&2; exit 1; }
        sleep 0.1
    done
done
echo ready
read -r _ || true
