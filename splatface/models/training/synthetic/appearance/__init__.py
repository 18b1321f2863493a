"""What an actor looks like: paint, eyes, teeth, hair and clothes over the rig, at rest."""
