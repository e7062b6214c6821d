use DBI;
my $db = DBI->connect("dbi:SQLite:dbname=$ARGV[0]", "", "", { RaiseError => 1 });
$db->do("CREATE TABLE IF NOT EXISTS note(text)");
$db->do("INSERT INTO note VALUES ('perl')");
print join(" ", @{ $db->selectcol_arrayref("SELECT text FROM note") }), "\n";
